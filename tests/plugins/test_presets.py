"""Every preset builds over tiny weights of its architecture, and gives a text the tokens of its authors' code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import preset_official as official
import pytest
import torch
from pipelines import ullme
from preset_cases import CASES, DOCUMENT, INSTRUCTION, LONG, QUERY, Case
from preset_models import localised, save_model

from ullme import Embedder, build_embedder
from ullme.config.load import load_model, load_pipeline
from ullme.config.presets import load_preset
from ullme.kinds import canonical
from ullme.plugins.registry import Registry

GOLDEN = Path(__file__).parents[1] / "golden" / "presets"
REGISTRY = Registry()
NAMES = sorted(record.name for record in REGISTRY.records if record.kind == "preset" and record.dist == "ullme")
PUBLISHED = [name for name in NAMES if load_preset(name, REGISTRY).published is not None]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A function giving the embedder of a preset over tiny weights, made once."""
    torch.set_num_threads(1)
    models: dict[tuple[str, str], Path] = {}
    embedders: dict[tuple[str, str], Any] = {}

    def get(name: str, setting: str = "official"):
        case = CASES[name]
        if (name, setting) not in embedders:
            key = (case.kind, case.model)
            if key not in models:
                models[key] = save_model(tmp_path_factory.mktemp("model"), case)
            chosen = {"preset": name} if setting == "official" else {"preset": name, "setting": setting}
            section = load_preset(name, REGISTRY).model
            changes = localised(section, models[key], tmp_path_factory.mktemp("parts"))
            embedders[name, setting] = build_embedder(load_model(chosen, changes, REGISTRY), device="cpu").eval()
        return embedders[name, setting]

    return get


def test_every_preset_is_held_against_official_usage():
    assert sorted(CASES) == NAMES
    assert len(NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_and_encodes(built, name):
    embedder = built(name)
    query = embedder.encode([QUERY, LONG], role="query")
    document = embedder.encode([DOCUMENT], role="document")
    assert query.shape == (2, embedder.dimension)
    assert np.isfinite(query).all()
    assert np.isfinite(document).all()
    assert not np.allclose(query[0], query[1], atol=1e-3)
    if embedder.config.normalize:
        np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1, atol=1e-5)
    if CASES[name].pair is not None:
        scores, counts = embedder.score([(QUERY, DOCUMENT)])
        assert scores[0] < 0 < counts[0]


@pytest.mark.parametrize("name", NAMES)
def test_its_tokens_are_those_of_the_official_usage(built, name):
    case, embedder = CASES[name], built(name)
    tokenizer = embedder.loaded.tokenizer
    golden: dict[str, Any] = {}
    for role, usage, text in (("query", case.query, QUERY), ("document", case.document, DOCUMENT)):
        tokens = _embedded(embedder, role, text, case)
        ids, pool = usage(tokenizer, text)
        assert list(tokens.ids) == ids, _spelled(tokenizer, tokens.ids, ids)
        assert list(tokens.pool) == pool
        golden[role] = {"ids": ids, "pooled": [index for index, pooled in enumerate(pool) if pooled]}
        if case.last:
            assert embedder.template.ending(role) == ids[-1]
    if case.pair is not None:
        prompt = case.instruction or "" if case.everywhere else ""
        (tokens,) = embedder.template.likelihood([(QUERY, DOCUMENT)], prompt)
        ids = case.pair(tokenizer)
        assert list(tokens.ids) == ids, _spelled(tokenizer, tokens.ids, ids)
        scored = [token for token, target in zip(tokens.ids, tokens.target, strict=True) if target]
        assert tokenizer.decode(scored, skip_special_tokens=True).strip() == DOCUMENT
        golden["likelihood"] = {"ids": ids, "scored": [i for i, target in enumerate(tokens.target) if target]}
    _same_as_golden(name, golden)


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].cut])
def test_a_long_text_is_cut_as_the_official_usage_cuts_it(built, name):
    case, embedder = CASES[name], built(name)
    for role, usage in (("query", case.query), ("document", case.document)):
        tokens = _embedded(embedder, role, LONG, case)
        ids, pool = usage(embedder.loaded.tokenizer, LONG)
        assert len(ids) < len(embedder.loaded.tokenizer(LONG)["input_ids"]), "the text is not long enough to be cut"
        assert list(tokens.ids) == ids
        assert list(tokens.pool) == pool


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_setting_builds_and_differs(built, name):
    meant, published = built(name), built(name, "as-published")
    assert published.config != meant.config
    for role, text in (("query", QUERY), ("document", LONG)):
        published.encode([text], role=role)
    runs = [
        [_run(embedder, role, text) for role, text in (("query", QUERY), ("document", LONG))]
        for embedder in (meant, published)
    ]
    assert runs[0] != runs[1]


@pytest.mark.parametrize(
    ("backbone", "kind", "model", "marks"),
    [
        ("mistral-7b-instruct-v0.2", "llama2", "mistral", "mistral"),
        ("llama-3-8b-instruct", "llama3", "llama", "llama"),
    ],
)
@pytest.mark.parametrize("row", ["ullme-base", "ullme-grl"])
def test_the_rows_of_ullme_go_over_any_backbone(tmp_path, row, backbone, kind, model, marks):
    folder = save_model(tmp_path / "model", Case(kind, model, official.plain, official.plain))
    changes = {"backbone": {"path": str(folder), "dtype": "float32"}}
    config = load_model({"preset": [row, backbone]}, changes, REGISTRY)
    embedder = build_embedder(config, device="cpu")
    assert config.attention.embed.name == ("causal" if row == "ullme-base" else "bidirectional")
    tokenizer, chosen = embedder.loaded.tokenizer, official.ULLME_MARKS[marks]
    for role, text in (("query", QUERY), ("document", DOCUMENT)):
        (tokens,) = embedder.template.embed([text], role, INSTRUCTION)
        ids, pool = official.ullme(tokenizer, text, INSTRUCTION, chosen, query=role == "query")
        assert list(tokens.ids) == ids, _spelled(tokenizer, tokens.ids, ids)
        assert list(tokens.pool) == pool
    (tokens,) = embedder.template.likelihood([(QUERY, DOCUMENT)], INSTRUCTION)
    assert list(tokens.ids) == official.ullme_pair(tokenizer, QUERY, DOCUMENT, INSTRUCTION, chosen)
    assert np.isfinite(embedder.encode([QUERY], role="query")).all()


RECIPES = {
    "ullme-causal-cl": {"infonce": 1.0},
    "ullme-bi-cl": {"infonce": 1.0},
    "ullme-bi-cl-sft": {"infonce": 1.0, "sft": 1.0},
    "ullme-grl-sft": {"infonce": 1.0, "sft": 0.5, "grl-kl": 1.0},
    "ullme-grl": {"infonce": 1.0, "dpo": 0.5, "grl-kl": 1.0},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_that_of_the_paper(tmp_path, name):
    file = tmp_path / "a.yaml"
    file.write_text(
        f"extends: [preset:{name}, preset:llama-3-8b-instruct]\nvars: {{data: {{use: jsonl, path: a.jsonl}}}}\n"
    )
    pipeline = load_pipeline(file, (), REGISTRY)
    (stage,) = pipeline.stages
    assert {loss.name: loss.config.weight for loss in stage.losses} == RECIPES[name]
    assert (stage.trainer.lr, stage.trainer.batch_size) == (2e-4, 512)
    assert (pipeline.model.adapter.r, pipeline.model.adapter.alpha) == (16, 32)
    assert pipeline.model.backbone.name == "llama"


def _run(embedder: Any, role: str, text: str) -> tuple[Any, ...]:
    """What decides a vector, beside the weights."""
    (tokens,) = embedder.template.embed([text], role, embedder.prompt(role))
    return (
        tokens,
        embedder.route(role),
        embedder.config.pooler.name,
        len(embedder.config.heads),
        (embedder.config.normalize),
    )


SAVED = ["gritlm-7b", "echo-last", "nv-embed-v2", "llm2vec-llama-3-8b-supervised", "st5-xxl", "jina-v3", "simcse-sup"]


@pytest.mark.parametrize("name", [*SAVED, "embeddinggemma", "udever-bloom-7b1", "ullme-grl"])
def test_a_saved_one_gives_the_same_vectors(built, tmp_path, name):
    embedder = built(name)
    embedder.save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model", device="cpu")
    for role in ("query", "document", "default"):
        assert np.array_equal(again.encode([QUERY, LONG], role=role), embedder.encode([QUERY, LONG], role=role))


@pytest.mark.parametrize("name", NAMES)
def test_show_plugin_explains_it(name):
    done = ullme("show-plugin", "preset", name)
    assert done.returncode == 0, done.stderr
    preset = load_preset(name, REGISTRY)
    for expected in (
        preset.about.summary,
        *preset.about.sources,
        preset.about.licence,
        preset.model["backbone"]["path"],
    ):
        assert expected in done.stdout
    assert preset.about.paper in done.stdout
    assert ("setting: as-published" in done.stdout) == (preset.published is not None)


def test_a_file_that_names_one_is_validated_without_anything_heavy(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: {preset: [ullme-grl, mistral-7b-instruct-v0.2], setting: official}\n")
    code = (
        "import sys; from ullme.cli import main; code = main(['validate', sys.argv[1]]); "
        "heavy = {'torch', 'transformers', 'peft', 'ullme_plugins.presets'} & set(sys.modules); "
        "sys.exit(code or len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_its_row_of_the_index_says_what_its_file_says(name):
    entry = REGISTRY.index.find("preset", canonical(name))
    about = load_preset(name, REGISTRY).about
    assert entry is not None
    assert (entry.summary, entry.paper) == (about.summary, about.paper)


def _embedded(embedder: Any, role: str, text: str, case: Case) -> Any:
    instructed = case.instruction is not None and (role == "query" or case.everywhere)
    prompt = case.instruction if instructed else embedder.prompt(role)
    (tokens,) = embedder.template.embed([text], role, prompt)
    return tokens


def _spelled(tokenizer: Any, ours: Any, theirs: Any) -> str:
    spell = tokenizer.convert_ids_to_tokens
    return f"\n{spell(list(ours))}\n{spell(list(theirs))}"


def _same_as_golden(name: str, found: dict[str, Any]) -> None:
    file = GOLDEN / f"{name}.json"
    if os.environ.get("ULLME_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(json.dumps(found) + "\n", "utf-8")
    assert json.loads(file.read_text("utf-8")) == found
