"""Heads: equal to sentence-transformers' Dense and the encoder's own pooling layer; weights read, or refused."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ullme import AssetError, ConfigError, LoadedBackbone
from ullme.plugins.registry import Registry

SIZE = 12


def make(name: str, **config):
    cls = Registry().load("head", name)
    return cls(cls.Config(**config))


@pytest.fixture
def loaded() -> LoadedBackbone:
    model = nn.Identity()
    return LoadedBackbone(model, model, None, None, hidden_size=SIZE, max_length=1, blocks=[])


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(5, SIZE, generator=torch.Generator().manual_seed(0))


def their_dense(folder, out_features: int = 8, bias: bool = True, activation: nn.Module | None = None, pickle=False):
    dense = pytest.importorskip("sentence_transformers.models").Dense
    torch.manual_seed(3)
    layer = dense(SIZE, out_features, bias=bias, activation_function=activation or nn.Identity())
    folder.mkdir(exist_ok=True)
    layer.save(str(folder), safe_serialization=not pickle)
    return lambda vectors: layer({"sentence_embedding": vectors})["sentence_embedding"]


# ---- dense -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "activation"), [("identity", nn.Identity()), ("tanh", nn.Tanh()), ("relu", nn.ReLU()), ("gelu", nn.GELU())]
)
@pytest.mark.parametrize("bias", [True, False])
def test_dense_equals_sentence_transformers(tmp_path, loaded, vectors, name, activation, bias):
    theirs = their_dense(tmp_path / "2_Dense", bias=bias, activation=activation)
    head = make("dense", out_features=8, bias=bias, activation=name, path=str(tmp_path / "2_Dense"))
    assert head.out_size(SIZE) == 8
    torch.testing.assert_close(head.build(SIZE, loaded)(vectors), theirs(vectors))


def test_dense_reads_one_file_and_pickle_only_if_allowed(tmp_path, loaded, vectors):
    theirs = their_dense(tmp_path / "a")
    head = make("dense", out_features=8, path=str(tmp_path / "a" / "model.safetensors"))
    torch.testing.assert_close(head.build(SIZE, loaded)(vectors), theirs(vectors))
    their_dense(tmp_path / "b", pickle=True)
    with pytest.raises(AssetError, match="allow_pickle: true"):
        make("dense", out_features=8, path=str(tmp_path / "b")).build(SIZE, loaded)
    head = make("dense", out_features=8, path=str(tmp_path / "b"), allow_pickle=True)
    torch.testing.assert_close(head.build(SIZE, loaded)(vectors), theirs(vectors))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"out_features": 9}, "out_features is 8 there, 9 here"),
        ({}, "out_features is 8 there, 12 here"),
        ({"out_features": 8, "bias": False}, "bias is True there, False here"),
        ({"out_features": 8, "activation": "tanh"}, "activation is identity there, tanh here"),
    ],
)
def test_settings_that_contradict_the_weights_are_refused(tmp_path, loaded, settings, says):
    their_dense(tmp_path / "2_Dense")
    with pytest.raises(ConfigError, match=says):
        make("dense", path=str(tmp_path / "2_Dense"), **settings).build(SIZE, loaded)


def test_a_residual_is_refused(tmp_path, loaded):
    their_dense(tmp_path / "2_Dense")
    config = json.loads((tmp_path / "2_Dense" / "config.json").read_text())
    (tmp_path / "2_Dense" / "config.json").write_text(json.dumps({**config, "use_residual": True}))
    with pytest.raises(ConfigError, match="use_residual"):
        make("dense", out_features=8, path=str(tmp_path / "2_Dense")).build(SIZE, loaded)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"linear.weight": (8, 4)}, r"linear.weight: expected shape \[8, 12\], found \[8, 4\]"),
        ({"linear.weight": (8, 12)}, "linear.bias: expected, not there"),
        ({"linear.weight": (8, 12), "linear.bias": (8,), "more": (1,)}, "more: there, not expected"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, loaded, weights, says):
    save_file({name: torch.zeros(shape) for name, shape in weights.items()}, tmp_path / "dense.safetensors")
    with pytest.raises(AssetError, match=says):
        make("dense", out_features=8, path=str(tmp_path / "dense.safetensors")).build(SIZE, loaded)


def test_a_config_that_is_none_is_refused(tmp_path, loaded):
    their_dense(tmp_path / "2_Dense")
    for text in ("{", "[1]"):
        (tmp_path / "2_Dense" / "config.json").write_text(text)
        with pytest.raises(AssetError, match="settings of a dense layer"):
            make("dense", out_features=8, path=str(tmp_path / "2_Dense")).build(SIZE, loaded)


# ---- mlp -------------------------------------------------------------------------------------------------------------


def test_mlp_equals_linear_activation_linear(loaded, vectors):
    torch.manual_seed(0)
    head = make("mlp", hidden_size=20, out_features=6)
    assert head.out_size(SIZE) == 6
    module = head.build(SIZE, loaded)
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(SIZE, 20), nn.ReLU(), nn.Linear(20, 6))
    torch.testing.assert_close(module(vectors), theirs(vectors))


def test_mlp_keeps_the_size_by_default(loaded):
    head = make("mlp", bias=False)
    shapes = [tuple(weight.shape) for weight in head.build(SIZE, loaded).parameters()]
    assert shapes == [(SIZE, SIZE)] * 2
    assert head.out_size(SIZE) == SIZE
    assert head.config.use_in == "always"
    assert make("mlp", use_in="training").config.use_in == "training"


@pytest.mark.parametrize("name", ["dense", "mlp"])
def test_a_projection_is_not_rounded_under_autocast(loaded, vectors, name):
    module = make(name).build(SIZE, loaded)
    expected = module(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(vectors).equal(expected)


# ---- pooler-mlp ------------------------------------------------------------------------------------------------------


def bert(tiny_models, **settings) -> LoadedBackbone:
    cls = Registry().load("backbone", "bert")
    loaded = cls(cls.Config(path=str(tiny_models("bert")), **settings)).load()
    loaded.model.eval()
    return loaded


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_pooling_layer_is_the_encoders_own(tiny_models, dtype):
    from transformers import AutoModel

    loaded = bert(tiny_models, pooling_layer=True, dtype=dtype)
    stock = AutoModel.from_pretrained(tiny_models("bert"), dtype=getattr(torch, dtype)).eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    with torch.no_grad():
        theirs = stock(input_ids=ids).pooler_output
        first = loaded.body(input_ids=ids).last_hidden_state[:, 0]
        head = make("pooler-mlp").build(loaded.hidden_size, loaded)
        assert head(first).equal(theirs)
        assert head(first.float()).dtype == torch.float32
    assert not head.state_dict()
    assert list(head.parameters()) == []


def test_the_pooling_layer_is_the_one_of_a_copy(tiny_models):
    """A copy of model and head, as a reference model is made, uses the copied layer."""
    loaded = bert(tiny_models, pooling_layer=True)
    both = nn.ModuleDict({"model": loaded.model, "head": make("pooler-mlp").build(loaded.hidden_size, loaded)})
    other = copy.deepcopy(both)
    vectors = torch.randn(2, loaded.hidden_size)
    before = both["head"](vectors)
    with torch.no_grad():
        other["model"].pooler.dense.weight.zero_()
    assert both["head"](vectors).equal(before)
    assert not other["head"](vectors).equal(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_on_the_pooling_layer_is_used(tiny_models, dtype):
    from peft import LoraConfig, get_peft_model

    loaded = bert(tiny_models, pooling_layer=True, dtype=dtype)
    head = make("pooler-mlp").build(loaded.hidden_size, loaded)
    vectors = torch.randn(2, loaded.hidden_size)
    before = head(vectors)
    adapted = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["pooler.dense"]))
    assert head(vectors).equal(before), "LoRA starts as no change"
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    assert not head(vectors).equal(before)


@pytest.mark.parametrize(
    ("size", "settings", "says"),
    [(64, {}, "without a pooling layer"), (32, {"pooling_layer": True}, "takes vectors of 64, found 32")],
)
def test_a_backbone_without_a_pooling_layer_is_refused(tiny_models, size, settings, says):
    loaded = bert(tiny_models, **settings)
    with pytest.raises(ConfigError, match=says):
        make("pooler-mlp").build(size, loaded)
