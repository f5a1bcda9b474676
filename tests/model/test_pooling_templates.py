"""What is pooled: echo's second occurrence, positions, layers; and what is done to the vector, in which order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ullme import ConfigError, Embedder
from ullme.model.embedder import VectorCall

TEXTS = ["the quick brown fox", "x", "a vector is a number, a likelihood is another; sorting takes memory"]
ECHO = {
    "embed": {
        "default": [
            {"text": "{bos}", "pool": False},
            {"text": "Document:{text}", "pool": False},
            {"text": "\nDocument again:", "pool": False},
            {"text": "{text}"},
            {"text": "{eos}"},
        ]
    }
}
INSTRUCTED = {"embed": {"default": [{"text": "{instruction}\n", "pool": False}, {"text": "{text}"}]}}


def close(a, b, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=tolerance, rtol=0)


def stock(path):
    """The family's own model and tokenizer, without anything of ullme."""
    from transformers import AutoModel, AutoTokenizer

    return AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def states(model, ids: list[int], layer: int = -1) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]


# ---- echo ------------------------------------------------------------------------------------------------------------


def echoed(model, tokenizer, text: str) -> torch.Tensor:
    """States of the second occurrence and the end token of an echo template, by hand."""
    before = f"Document:{text}\nDocument again:"
    encoded = tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
    ids = [tokenizer.bos_token_id, *encoded["input_ids"], tokenizer.eos_token_id]
    first = 1 + sum(end <= len(before) for _, end in encoded["offset_mapping"])
    assert tokenizer.decode(ids[first:-1]) == text
    return states(model, ids)[first:]


@pytest.mark.parametrize("pooler", ["mean", "last"])
def test_echo_pools_the_second_occurrence_alone(build, tiny_models, pooler):
    embedder = build(pooler=pooler, template=ECHO, attention="causal", normalize=False)
    model, tokenizer = stock(tiny_models("llama"))
    second = [echoed(model, tokenizer, text) for text in TEXTS]
    expected = [part.mean(0) if pooler == "mean" else part[-1] for part in second]
    close(embedder.encode(TEXTS), torch.stack(expected))


def test_echo_lets_an_early_token_know_a_later_one(build):
    """What it is for: under causal attention the first pooled token has seen the last word of the text."""
    first = build(pooler="cls", template=ECHO, attention="causal")
    plain = build(pooler="cls", attention="causal")
    texts = ["one two three", "one two four"]
    assert np.abs(np.subtract(*first.encode(texts))).max() > 1e-3
    assert np.array_equal(*plain.encode(texts))


# ---- positions and layers --------------------------------------------------------------------------------------------


def instructed(tokenizer, text: str, instruction: str) -> tuple[list[int], int]:
    """Token ids, and the place of the first that belongs to the text."""
    encoded = tokenizer(f"{instruction}\n{text}", add_special_tokens=False, return_offsets_mapping=True)
    return encoded["input_ids"], sum(end <= len(instruction) + 1 for _, end in encoded["offset_mapping"])


@pytest.mark.parametrize("positions", ["mask", "absolute"])
def test_a_weighted_mean_counts_with_or_without_the_instruction(build, tiny_models, positions):
    pooler = {"use": "weighted-mean", "positions": positions}
    embedder = build(pooler=pooler, template=INSTRUCTED, attention="causal", normalize=False)
    model, tokenizer = stock(tiny_models("llama"))
    expected = []
    for text in TEXTS:
        ids, first = instructed(tokenizer, text, "find what fits")
        assert first > 1
        weights = torch.arange(1, len(ids) + 1)[first:] - (first if positions == "mask" else 0)
        expected.append((states(model, ids)[first:] * weights[:, None]).sum(0) / weights.sum())
    close(embedder.encode(TEXTS, instruction="find what fits"), torch.stack(expected))


@pytest.mark.parametrize(
    ("settings", "numbers"), [({"n": 1}, [-1]), ({"n": 2}, [-2, -1]), ({"layers": [0, -1]}, [0, -1])]
)
def test_a_mean_of_layers_is_that_of_transformers_hidden_states(build, tiny_models, settings, numbers):
    embedder = build(pooler={"use": "mean-layers", **settings}, attention="causal", normalize=False)
    model, tokenizer = stock(tiny_models("llama"))
    expected = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected.append(torch.stack([states(model, ids, number) for number in numbers]).mean(0).mean(0))
    close(embedder.encode(TEXTS), torch.stack(expected))


def test_a_layer_that_the_model_lacks_is_refused(build):
    with pytest.raises(ConfigError, match=r"hidden states 0 to 2.*found -9"):
        build(pooler={"use": "mean-layers", "n": 9}).encode(TEXTS)


# ---- pooler, heads, dimensions, length -------------------------------------------------------------------------------


def randomised(embedder: Embedder) -> Embedder:
    """Weights of pooler and heads moved away from where they started."""
    torch.manual_seed(7)
    parts = [*embedder.heads.parameters()]
    parts += embedder.pooler.parameters() if isinstance(embedder.pooler, nn.Module) else []
    with torch.no_grad():
        for weight in parts:
            weight.add_(torch.randn_like(weight) * 0.1)
    return embedder


def test_pooler_then_heads_then_dimensions_then_length(build):
    heads = [
        {"use": "dense", "out_features": 24, "activation": "tanh"},
        {"use": "mlp", "hidden_size": 40, "out_features": 20},
    ]
    embedder = build(heads=heads, dimensions=8)
    plain = torch.from_numpy(build(normalize=False).encode(TEXTS))
    dense, mlp = embedder.heads
    with torch.no_grad():
        hidden = torch.tanh(plain @ dense.linear.weight.T + dense.linear.bias)
        hidden = torch.relu(hidden @ mlp.first.weight.T + mlp.first.bias)
        expected = (hidden @ mlp.second.weight.T + mlp.second.bias)[:, :8]
    close(embedder.encode(TEXTS), expected / expected.norm(dim=1, keepdim=True))
    assert embedder.dimension == 8
    assert build(heads=heads).dimension == 20


def test_more_dimensions_than_a_head_gives_are_refused(build):
    with pytest.raises(ConfigError, match="expected at most 20, found 32"):
        build(heads=[{"use": "dense", "out_features": 20}], dimensions=32)


def test_a_head_for_training_changes_the_loss_alone(build):
    """SimCLR's way: the loss sees the projected vector, the user the one before it."""
    embedder = build(heads=[{"use": "mlp", "use_in": "training", "out_features": 10}], normalize=False)
    plain = build(normalize=False)
    assert np.array_equal(embedder.encode(TEXTS), plain.encode(TEXTS))
    assert embedder.dimension == plain.dimension
    call = VectorCall(embedder.template.embed(TEXTS, "document"))
    embedder.train()
    with torch.no_grad():
        trained = embedder(call)
        close(trained, embedder.heads[0](torch.from_numpy(plain.encode(TEXTS))))
    assert trained.shape == (3, 10)
    embedder(call).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in embedder.heads.parameters())


def test_the_encoders_own_pooling_layer(build, tiny_models, tmp_path):
    """Supervised SimCSE: equal to transformers' pooler_output, and saved as part of the backbone, once."""
    embedder = build("bert", pooler="cls", heads=["pooler-mlp"], normalize=False, backbone={"pooling_layer": True})
    model, tokenizer = stock(tiny_models("bert"))
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt")).pooler_output[0] for text in TEXTS]
    close(embedder.encode(TEXTS), torch.stack(expected))
    assert [name for name in embedder.state_dict() if "pooler" in name] == [
        "model.pooler.dense.weight",
        "model.pooler.dense.bias",
    ]
    embedder.save(tmp_path / "model")
    assert not (tmp_path / "model" / "heads.safetensors").exists()
    assert np.array_equal(Embedder.from_directory(tmp_path / "model").encode(TEXTS), embedder.encode(TEXTS))


# ---- weights of poolers and heads ------------------------------------------------------------------------------------

LATENT = {"use": "latent-attention", "latents": 6, "heads": 2, "head_size": 8, "mlp_ratio": 1}
LEARNED = [{"pooler": "attention"}, {"pooler": LATENT}, {"heads": ["dense", "mlp"]}]


@pytest.mark.parametrize("section", LEARNED, ids=str)
def test_new_weights_come_from_the_seed(build, section):
    first = build(**section).encode(TEXTS)
    assert np.array_equal(build(**section).encode(TEXTS), first)
    assert not np.array_equal(build(seed=1, **section).encode(TEXTS), first)


@pytest.mark.parametrize("section", LEARNED, ids=str)
def test_trained_weights_are_saved_and_loaded(build, tmp_path, section):
    embedder = build(**section)
    untrained = embedder.encode(TEXTS)
    trained = randomised(embedder).encode(TEXTS)
    assert not np.allclose(trained, untrained, atol=1e-4)
    embedder.save(tmp_path / "model")
    assert np.array_equal(Embedder.from_directory(tmp_path / "model").encode(TEXTS), trained)


def test_weights_that_were_read_from_elsewhere_are_saved_with_the_model(build, tmp_path):
    """The copy needs neither the folder nor the hub that they came from."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path / "2_Dense"
    folder.mkdir()
    save_file({"linear.weight": torch.randn(16, 64)}, folder / "model.safetensors")
    embedder = build(heads=[{"use": "dense", "out_features": 16, "bias": False, "path": str(folder)}])
    before = embedder.encode(TEXTS)
    embedder.save(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    copy = Embedder.from_directory(tmp_path / "model")
    assert np.array_equal(copy.encode(TEXTS), before)
    assert copy.fingerprint() == embedder.fingerprint()


@pytest.mark.parametrize("section", LEARNED, ids=str)
def test_a_half_precision_model_keeps_pooler_and_heads_in_full_precision(build, section):
    whole = randomised(build(**section)).encode(TEXTS)
    half = randomised(build(backbone={"dtype": "bfloat16"}, adapter={"r": 4}, **section))
    assert {weight.dtype for weight in half.heads.parameters()} <= {torch.float32}
    assert (whole * half.encode(TEXTS)).sum(1).min() > 0.999
