"""`backbone: {use: sentence-transformers}`: the vectors of `SentenceTransformer(path)`, or a refusal by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from exported import MIXED, distance, exported, st

from ullme import ConfigError, Embedder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PROMPTS = {"query": "find it:\n", "document": "", "task": "another task:\n"}


@pytest.fixture
def made(tiny_models, tmp_path):
    """A function saving a model with sentence-transformers' own classes."""

    def make(family="bert", pooling="mean", *, include_prompt=True, more=(), length=40, prompts=PROMPTS, name="st"):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        torch.manual_seed(0)
        transformer = Transformer(str(tiny_models(family)))
        transformer.max_seq_length = length
        modules = [transformer, Pooling(64, pooling, include_prompt=include_prompt), *more]
        model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
        model.save(str(tmp_path / name))
        return tmp_path / name

    return make


@pytest.fixture
def wrap():
    """A function building the embedder over a folder."""

    def make(folder, **section):
        from ullme import build_embedder
        from ullme.config.load import load_model

        torch.set_num_threads(1)
        return build_embedder(
            load_model({"backbone": {"use": "sentence-transformers", "path": str(folder)}, **section})
        )

    return make


def agrees(embedder, model) -> None:
    default = model.default_prompt_name or "document"
    for role, theirs in (
        ("query", model.encode_query(MIXED)),
        ("document", model.encode_document(MIXED)),
        ("default", model.encode(MIXED, prompt_name=default)),
    ):
        assert distance(embedder.encode(MIXED, role=role), theirs) < 1e-5


@pytest.mark.parametrize("family", ["bert", "llama", "gpt_neox", "gemma3"])
@pytest.mark.parametrize("pooling", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_vectors_are_those_of_sentence_transformers(made, wrap, family, pooling, include_prompt):
    folder = made(family, pooling, include_prompt=include_prompt)
    embedder, model = wrap(folder), st(folder)
    agrees(embedder, model)
    assert distance(embedder.encode(MIXED, role="task"), model.encode(MIXED, prompt_name="task")) < 1e-5
    if include_prompt and pooling != "cls":
        assert distance(embedder.encode(MIXED, role="task"), embedder.encode(MIXED)) > 1e-3


def test_dense_layers_and_norm(made, wrap):
    from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Normalize

    layers = [Dense(64, 48), Dropout(0.5), Dense(48, 24, bias=False, activation_function=torch.nn.GELU()), Normalize()]
    folder = made(more=layers)
    embedder, model = wrap(folder), st(folder)
    agrees(embedder, model)
    assert embedder.dimension == 24
    assert [choice.name for choice in embedder.config.heads] == ["dense", "dense"]
    assert embedder.config.normalize


def test_a_bidirectional_decoder_exported_by_ullme_comes_back(build, wrap, tmp_path):
    for family in ("llama", "gemma3"):
        embedder = build(family, prompts={"query": "find it"}, dimensions=24)
        exported(build(family, dimensions=24), tmp_path / family)
        again = wrap(tmp_path / family)
        assert again.config.attention.embed.name == "bidirectional"
        for role in ("query", "document"):
            assert distance(again.encode(MIXED, role=role), embedder.encode(MIXED, role=role, instruction="")) < 1e-5


def test_lengths_of_the_roles(build, wrap, tmp_path):
    template = {"embed": {"default": ["{bos}", "{instruction}:\n", "{text}", "{eos}"]}}
    embedder = build(prompts={"query": "find it", "document": "a longer prompt for a text"}, template=template)
    exported(embedder, tmp_path / "st")
    again, model = wrap(tmp_path / "st"), st(tmp_path / "st")
    for role, theirs in (("query", model.encode_query(MIXED)), ("document", model.encode_document(MIXED))):
        assert distance(again.encode(MIXED, role=role), theirs) < 1e-5
        assert distance(again.encode(MIXED, role=role), embedder.encode(MIXED, role=role)) < 1e-5


def test_what_the_yaml_says_is_kept(made, wrap):
    folder = made(pooling="mean")
    embedder = wrap(folder, pooler="cls", normalize=True, prompts={"query": "mine: "}, max_tokens=12)
    assert embedder.config.pooler.name == "cls"
    assert embedder.config.normalize
    assert embedder.config.max_tokens == 12
    assert embedder.config.prompts == {"query": "mine: ", "task": PROMPTS["task"]}
    assert wrap(folder).config.pooler.name == "mean"


def test_saved_trained_and_loaded_without_the_folder_it_came_from(made, wrap, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Dense

    folder = made(more=[Dense(64, 48)])
    embedder = wrap(folder, adapter={"r": 4})
    with torch.no_grad():
        for name, parameter in embedder.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    embedder.save(tmp_path / "model")
    shutil.rmtree(folder)
    again = Embedder.from_directory(tmp_path / "model")
    assert distance(again.encode(MIXED, role="query"), embedder.encode(MIXED, role="query")) < 1e-6


def test_a_plain_model_is_pooled_as_sentence_transformers_would(tiny_models, wrap):
    for family, pooler in (("bert", "mean"), ("llama", "last")):
        embedder, model = wrap(tiny_models(family)), st(tiny_models(family))
        assert embedder.config.pooler.name == pooler
        assert distance(embedder.encode(MIXED), model.encode(MIXED)) < 1e-5


def test_lower_case_that_stands_in_the_settings_alone(made, wrap):
    folder = made("bert")
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_lower_case": True}))
    embedder, model = wrap(folder), st(folder)
    agrees(embedder, model)
    assert np.array_equal(embedder.encode(["HELLO"]), embedder.encode(["hello"]))


class TestRefused:
    def edited(self, folder, name, **changes):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    def test_modules_without_a_counterpart(self, made, wrap):
        from sentence_transformers.sentence_transformer.modules import LayerNorm, Normalize

        with pytest.raises(ConfigError, match=r"module 2 \(LayerNorm\) has no counterpart here"):
            wrap(made(more=[LayerNorm(64)]))
        from sentence_transformers.sentence_transformer.modules import Dense

        with pytest.raises(ConfigError, match=r"module 2 \(Normalize\) has no counterpart here, at least"):
            wrap(made(more=[Normalize(), Dense(64, 8)], name="two"))

    def test_pooling_in_two_ways(self, made, wrap):
        with pytest.raises(ConfigError, match="joins mean and max to one long vector"):
            wrap(made(pooling=("mean", "max")))

    def test_dense_layers_of_another_kind(self, made, wrap):
        from sentence_transformers.sentence_transformer.modules import Dense

        with pytest.raises(ConfigError, match="adds its input to its output"):
            wrap(made(more=[Dense(64, 64, use_residual=True)]))
        with pytest.raises(ConfigError, match=r"activation torch.nn.modules.activation.SiLU has no counterpart"):
            wrap(made(more=[Dense(64, 64, activation_function=torch.nn.SiLU())], name="two"))

    def test_code_of_the_models_own(self, made, wrap):
        folder = made()
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = "own_module.Pooling"
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(ConfigError, match=r"own_module.Pooling is code of the model's own, which is not run"):
            wrap(folder)

    def test_other_kinds_of_model(self, made, wrap):
        folder = self.edited(made(), "config_sentence_transformers.json", model_type="SparseEncoder")
        with pytest.raises(ConfigError, match="a SparseEncoder, which gives no single vector"):
            wrap(folder)

    def test_vectors_cut_after_normalising(self, made, wrap):
        from sentence_transformers.sentence_transformer.modules import Normalize

        folder = self.edited(made(more=[Normalize()]), "config_sentence_transformers.json", truncate_dim=16)
        with pytest.raises(ConfigError, match="truncate_dim 16: sentence-transformers cuts vectors"):
            wrap(folder)

    def test_settings_that_change_the_input(self, made, wrap):
        folder = self.edited(made(), "sentence_bert_config.json", query_expansion={"strategy": "fixed", "length": 32})
        with pytest.raises(ConfigError, match="its setting 'query_expansion' has no counterpart here"):
            wrap(folder)
