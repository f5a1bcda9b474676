"""Poolers against sentence-transformers, against formulas written out, and where states or masks are unusual."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from ullme import AssetError
from ullme.plugins.discovery import OWN_DIST, scan
from ullme.plugins.registry import Registry

NAMES = sorted(record.name for record in scan() if record.dist == OWN_DIST and record.kind == "pooler")
SIZE = 16


def make(name: str, **config):
    cls = Registry().load("pooler", name)
    return cls(cls.Config(**config))


def built(name: str, seed: int = 0, size: int = SIZE, **config):
    torch.manual_seed(seed)
    return make(name, **config).build(size)


def batch(side: str = "right", seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """States and mask of texts of 5, 1, 7 and 3 tokens."""
    lengths = torch.tensor([5, 1, 7, 3])
    places = torch.arange(9)
    mask = places < lengths[:, None] if side == "right" else places >= 9 - lengths[:, None]
    hidden = torch.randn(4, 9, SIZE, generator=torch.Generator().manual_seed(seed))
    return hidden.to(dtype), mask.long()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# ---- against sentence-transformers ---------------------------------------------------------------------------------

THEIRS = {
    "cls": "cls",
    "last": "lasttoken",
    "max": "max",
    "mean": "mean",
    "mean-sqrt-len": "mean_sqrt_len_tokens",
    "weighted-mean": "weightedmean",
}


def theirs(mode: str, hidden: Tensor, mask: Tensor, prompt: int = 0) -> Tensor:
    pooling = pytest.importorskip("sentence_transformers.models").Pooling(SIZE, pooling_mode=mode, include_prompt=False)
    features = {"token_embeddings": hidden, "attention_mask": mask, "prompt_length": prompt}
    return pooling(features)["sentence_embedding"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", THEIRS)
def test_equals_sentence_transformers(name, side):
    hidden, mask = batch(side)
    close(built(name)(hidden, mask), theirs(THEIRS[name], hidden, mask))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["mean", "max", "mean-sqrt-len", "last", "cls"])
def test_a_prompt_that_is_not_pooled_equals_include_prompt_false(name, side):
    hidden, mask = batch(side)
    hidden, mask = hidden[[0, 2, 3]], mask[[0, 2, 3]]  # the others are longer than the prompt
    pooled = mask * (mask.cumsum(1) > 2)
    close(built(name)(hidden, pooled), theirs(THEIRS[name], hidden, mask, prompt=2))


# ---- weighted mean ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_absolute_positions_count_the_tokens_that_are_not_pooled(side):
    hidden, mask = batch(side)
    hidden, mask = hidden[[0, 2, 3]], mask[[0, 2, 3]]
    pooled, positions = mask * (mask.cumsum(1) > 2), mask.cumsum(1) - 1
    absolute = built("weighted-mean", positions="absolute")(hidden, pooled, positions)
    close(absolute, theirs("weightedmean", hidden, mask, prompt=2))
    assert not torch.allclose(absolute, built("weighted-mean")(hidden, pooled))


def test_absolute_positions_equal_the_formula_of_sgpt():
    hidden, mask = batch("right")
    weights = torch.arange(1, hidden.shape[1] + 1)[None, :, None] * mask[:, :, None]
    expected = (hidden * weights).sum(1) / weights.sum(1)
    close(built("weighted-mean", positions="absolute")(hidden, mask, (mask.cumsum(1) - 1).clamp(min=0)), expected)
    close(built("weighted-mean")(hidden, mask), expected)


def test_only_absolute_positions_are_read():
    assert not make("weighted-mean").reads_positions
    assert make("weighted-mean", positions="absolute").reads_positions
    with pytest.raises(TypeError, match="positions"):
        built("weighted-mean", positions="absolute")(*batch())


# ---- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "layers"),
    [({}, (-4, -3, -2, -1)), ({"n": 2}, (-2, -1)), ({"n": 1}, (-1,)), ({"layers": [1, -1]}, (1, -1))],
)
def test_layers(config, layers):
    assert make("mean-layers", **config).layers == layers


@pytest.mark.parametrize(
    ("config", "says"), [({"n": 2, "layers": [1]}, "either `n` or `layers`"), ({"layers": [1, 1]}, "listed twice")]
)
def test_contradictory_layers_are_refused(config, says):
    with pytest.raises(ValidationError, match=says):
        make("mean-layers", **config)


# ---- learned attention -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [1, 3])
def test_attention_equals_its_formula(queries):
    pooling = built("attention", queries=queries)
    with torch.no_grad():
        pooling.queries.normal_()
    hidden, mask = batch()
    for row in range(len(mask)):
        tokens = hidden[row][mask[row] == 1]
        weights = torch.stack([torch.softmax(tokens @ q / math.sqrt(SIZE), 0) for q in pooling.queries]).mean(0)
        close(pooling(hidden, mask)[row], weights @ tokens)


def test_attention_starts_close_to_the_mean_and_its_weights_sum_to_one():
    pooling = built("attention", queries=2)
    hidden, mask = batch()
    assert torch.nn.functional.cosine_similarity(pooling(hidden, mask), built("mean")(hidden, mask)).min() > 0.99
    close(pooling.weights(hidden, mask).sum(1), torch.ones(4))
    assert not pooling.weights(hidden, mask)[mask == 0].any()


def test_attention_computes_its_scores_in_full_precision():
    """Under autocast, and for bf16 states: the weights are those of fp32 states of the same values."""
    pooling = built("attention")
    with torch.no_grad():
        pooling.queries.mul_(500)
    hidden, mask = batch(dtype=torch.bfloat16)
    expected = pooling.weights(hidden.float(), mask)
    assert expected.dtype == torch.float32
    assert pooling.weights(hidden, mask).equal(expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pooling.weights(hidden, mask).equal(expected)


# ---- latent attention ------------------------------------------------------------------------------------------------


def reference(weights: dict[str, Tensor], tokens: Tensor, heads: int) -> Tensor:
    """NV-Embed's module as published, for one text without padding; one head at a time."""
    attention, mlp = "cross_attend_blocks.0", "cross_attend_blocks.1"

    def norm(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    queries = norm(tokens, f"{attention}.norm") @ weights[f"{attention}.fn.to_q.weight"].T
    both = norm(weights["latents"], f"{attention}.norm_context") @ weights[f"{attention}.fn.to_kv.weight"].T
    inner = queries.shape[1]
    keys, values = both[:, :inner], both[:, inner:]
    size = inner // heads
    answers = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = queries[:, part] @ keys[:, part].T / math.sqrt(size)
        answers.append(scores.softmax(-1) @ values[:, part])
    tokens = torch.cat(answers, 1) @ weights[f"{attention}.fn.to_out.weight"].T + tokens
    wide = norm(tokens, f"{mlp}.norm") @ weights[f"{mlp}.fn.net.0.weight"].T + weights[f"{mlp}.fn.net.0.bias"]
    values, gates = wide[:, : wide.shape[1] // 2], wide[:, wide.shape[1] // 2 :]
    gated = values * 0.5 * gates * (1 + torch.erf(gates / math.sqrt(2)))
    tokens = gated @ weights[f"{mlp}.fn.net.2.weight"].T + weights[f"{mlp}.fn.net.2.bias"] + tokens
    return tokens.mean(0)


@pytest.mark.parametrize("sizes", [{}, {"latents": 5, "heads": 3, "head_size": 4, "mlp_ratio": 2}])
def test_latent_attention_equals_the_published_formula(sizes):
    pooling = built("latent-attention", **sizes)
    with torch.no_grad():
        for name, weight in pooling.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.3)
    hidden, mask = batch("left")
    heads = sizes.get("heads", 8)
    expected = [reference(pooling.state_dict(), hidden[row][mask[row] == 1], heads) for row in range(4)]
    close(pooling(hidden, mask), torch.stack(expected), 1e-5)


def test_latent_attention_has_the_size_of_nv_embeds():
    with torch.device("meta"):
        pooling = make("latent-attention").build(4096)
    shapes = {name: tuple(weight.shape) for name, weight in pooling.named_parameters()}
    assert shapes == {
        "latents": (512, 4096),
        "cross_attend_blocks.0.norm.weight": (4096,),
        "cross_attend_blocks.0.norm.bias": (4096,),
        "cross_attend_blocks.0.norm_context.weight": (4096,),
        "cross_attend_blocks.0.norm_context.bias": (4096,),
        "cross_attend_blocks.0.fn.to_q.weight": (32768, 4096),
        "cross_attend_blocks.0.fn.to_kv.weight": (65536, 4096),
        "cross_attend_blocks.0.fn.to_out.weight": (4096, 32768),
        "cross_attend_blocks.1.norm.weight": (4096,),
        "cross_attend_blocks.1.norm.bias": (4096,),
        "cross_attend_blocks.1.fn.net.0.weight": (32768, 4096),
        "cross_attend_blocks.1.fn.net.0.bias": (32768,),
        "cross_attend_blocks.1.fn.net.2.weight": (4096, 16384),
        "cross_attend_blocks.1.fn.net.2.bias": (4096,),
    }
    total = sum(weight.numel() for weight in pooling.parameters())
    assert total == 740_356_096, "0.74 billion, as stated by the authors: NV-Embed has 7.85, Mistral 7.11"


def test_latent_attention_reads_a_checkpoint_of_the_whole_model(tmp_path):
    trained = built("latent-attention", seed=1, latents=4, heads=2)
    weights = {f"latent_attention_model.{name}": weight for name, weight in trained.state_dict().items()}
    save_file({**weights, "embedding_model.norm.weight": torch.ones(SIZE)}, tmp_path / "model.safetensors")
    read = built("latent-attention", seed=2, latents=4, heads=2, path=str(tmp_path))
    hidden, mask = batch()
    assert read(hidden, mask).equal(trained(hidden, mask))
    with pytest.raises(AssetError, match=r"latents: expected shape \[3, 16\], found \[4, 16\]"):
        built("latent-attention", latents=3, heads=2, path=str(tmp_path))
    with pytest.raises(AssetError, match=r"none of its tensors has a name that starts with 'pool\.'"):
        built("latent-attention", latents=4, heads=2, path=str(tmp_path), prefix="pool.")


# ---- all of them -----------------------------------------------------------------------------------------------------


def pool(name: str, function, hidden: Tensor, mask: Tensor) -> Tensor:
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return function(hidden, mask, positions) if make(name).reads_positions else function(hidden, mask)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_in_padding_does_no_harm(name):
    """Attention kernels may leave NaN where every key is masked: neither vectors nor gradients see it."""
    hidden, mask = batch()
    function = built(name)
    expected = pool(name, function, hidden, mask)
    spoilt = hidden.masked_fill(mask[:, :, None] == 0, float("nan")).requires_grad_()
    vectors = pool(name, function, spoilt, mask)
    close(vectors, expected)
    vectors.square().sum().backward()
    assert spoilt.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_any_pooled_token_gives_zeros(name):
    hidden, mask = batch()
    vectors = pool(name, built(name), hidden, torch.zeros_like(mask))
    assert vectors.shape == (4, SIZE)
    assert not vectors.any()


@pytest.mark.parametrize("name", NAMES)
def test_long_texts_in_half_precision_are_counted_exactly(name):
    """bf16 has 8 bits: counting 1000 tokens in it would be wrong by several."""
    hidden = torch.randn(1, 1001, SIZE, generator=torch.Generator().manual_seed(0)).bfloat16() + 1
    mask = torch.ones(1, 1001, dtype=torch.long)
    function = built(name)
    exact = pool(name, function, hidden.float(), mask)
    torch.testing.assert_close(pool(name, function, hidden, mask).float(), exact, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("name", [name for name in NAMES if "attention" in name])
def test_weights_of_a_pooler_learn(name):
    pooling = built(name)
    pooling(*batch()).square().sum().backward()
    still = [name for name, weight in pooling.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


@pytest.mark.parametrize("name", [name for name in NAMES if name != "latent-attention"])  # it sizes by what is pooled
def test_a_pooler_compiles_as_one_graph(name):
    torch._dynamo.reset()
    function, hidden_and_mask = built(name), batch()
    compiled = torch.compile(function.__call__, backend="eager", fullgraph=True)
    close(pool(name, compiled, *hidden_and_mask), pool(name, function, *hidden_and_mask))
