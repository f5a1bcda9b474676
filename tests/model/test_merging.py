"""Folding an adapter into weights: what peft's own merge gives, without touching the model."""

from __future__ import annotations

import copy

import pytest
import torch

from ullme import ConfigError, Embedder, merged_weights
from ullme.model.reference import TEXTS
from ullme.model.storage import save


def train(embedder, seed: int = 1) -> None:
    """Adapter weights as if trained: B away from 0 and, for DoRA, magnitudes away from the weights' own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in embedder.adapter.named_parameters():
            if ".lora_B." in name or ".lora_magnitude_vector." in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3", "bert"])
@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
def test_merged_weights_are_those_of_peft(build, family, method):
    embedder = build(family, adapter={"r": 4, "method": method})
    train(embedder)
    before = {name: tensor.clone() for name, tensor in embedder.state_dict().items()}
    vectors = embedder.encode(TEXTS)
    merged = merged_weights(embedder)
    expected = copy.deepcopy(embedder.adapter).merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-6)
    plain = build(family).state_dict()
    assert any(not torch.equal(tensor, plain.get(f"model.{name}", tensor)) for name, tensor in merged.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in embedder.state_dict().items())
    assert (embedder.encode(TEXTS) == vectors).all()


@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
def test_a_model_of_merged_weights_gives_the_same_vectors(build, method):
    embedder, plain = build(adapter={"r": 4, "method": method}), build()
    train(embedder)
    assert abs(plain.encode(TEXTS) - embedder.encode(TEXTS)).max() > 0.01
    plain.loaded.model.load_state_dict(merged_weights(embedder))
    assert abs(plain.encode(TEXTS) - embedder.encode(TEXTS)).max() < 1e-5
    pair = [("a question", "its answer")]
    assert abs(plain.score(pair)[0] - embedder.score(pair)[0]).max() < 1e-4


def test_half_precision_is_rounded_once(build):
    """What a bf16 base becomes is the fp32 sum, rounded; peft's own merge is within one rounding of it."""
    embedder = build(options={"dtype": torch.bfloat16}, backbone={"dtype": "bfloat16"}, adapter={"r": 4})
    train(embedder)
    exact, once = merged_weights(embedder, dtype=torch.float32), merged_weights(embedder)
    peft = copy.deepcopy(embedder.adapter).merge_and_unload().state_dict()
    for name, tensor in exact.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(once[name], tensor.bfloat16())
        torch.testing.assert_close(once[name], peft[name], atol=1e-2, rtol=1e-2)


def test_one_of_several_adapters(build):
    embedder = build(adapter={"r": 4, "tasks": ["search", "other"]})
    train(embedder)
    one, two = merged_weights(embedder, adapter="search"), merged_weights(embedder, adapter="other")
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(one[name], two[name])
    plain = build()
    plain.loaded.model.load_state_dict(two)
    with embedder.routed("other"):
        expected = embedder.encode(TEXTS, tasks=["other"])
    assert abs(plain.encode(TEXTS) - expected).max() < 1e-5


def test_without_an_adapter_they_are_the_models_own(build):
    embedder = build()
    assert all(tensor is not None and torch.equal(tensor, embedder.loaded.model.state_dict()[name])
               for name, tensor in merged_weights(embedder).items())  # fmt: skip


def test_a_tied_embedding_that_is_adapted_is_refused(build):
    embedder = build("llama", adapter={"r": 4, "targets": ["embed_tokens", "q_proj"]})
    with pytest.raises(ConfigError, match="tied to the model's other end"):
        merged_weights(embedder)


def test_adapted_embeddings_that_are_not_tied_are_folded(build):
    embedder = build("gpt_neox", adapter={"r": 4, "targets": ["embed_in", "query_key_value"]})
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in embedder.adapter.named_parameters():
            if "lora_embedding_A" in name:
                parameter.normal_(0, 0.05)
    expected = copy.deepcopy(embedder.adapter).merge_and_unload().state_dict()
    merged = merged_weights(embedder)
    torch.testing.assert_close(merged["gpt_neox.embed_in.weight"], expected["gpt_neox.embed_in.weight"])
    assert not torch.equal(merged["gpt_neox.embed_in.weight"], build("gpt_neox").loaded.body.embed_in.weight)


def test_a_merged_directory_has_no_adapter_and_the_same_vectors(build, tmp_path):
    embedder = build(adapter={"r": 4, "method": "dora"}, prompts={"query": "find it"}, dimensions=32)
    train(embedder)
    save(embedder, tmp_path / "merged", merged=True)
    copy_ = Embedder.from_directory(tmp_path / "merged")
    assert copy_.adapter is None
    assert not (tmp_path / "merged" / "adapter").exists()
    for role in ("query", "document"):
        assert abs(copy_.encode(TEXTS, role=role) - embedder.encode(TEXTS, role=role)).max() < 1e-5
