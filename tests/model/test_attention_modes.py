"""Windows, prefixes and rows that several texts share: who sees whom, and that packing changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ullme import AttentionError, ConfigError, Layout
from ullme.model.embedder import LikelihoodCall, VectorCall
from ullme.model.states import hidden_states
from ullme.model.tokens import pack

MODES = ["bidirectional", "causal", {"use": "bidirectional-window", "window": 4}, "prefix"]
DECODERS = ["llama", "gpt_neox", "gemma3"]
IMPLEMENTATIONS = ["eager", "sdpa", pytest.param("flex_attention", marks=pytest.mark.slow)]
TEXTS = [
    "short",
    "a text of medium length here",
    "x",
    "the longest of these texts by a good margin, with commas",
    "six",
]
PAIRS = [
    ("where is it", "it is here"),
    ("a longer question with more words", "yes"),
    ("why", "because of this and that"),
]
CLOSE = {"atol": 1e-5, "rtol": 0.0}


def reach(embedder, layout: Layout | None = None, length: int = 9, mode: str = "embed") -> torch.Tensor:
    """[T, T]: whether the token of a column moves the state of a row, after both layers."""
    ids = torch.randint(10, 200, (1, length), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    with torch.no_grad(), embedder.modes[mode].active(layout):
        base = hidden_states(embedder.loaded, ids, mask)[0]
        seen = []
        for column in range(length):
            other = ids.clone()
            other[0, column] = 5
            change = (hidden_states(embedder.loaded, other, mask)[0] - base).abs().amax(-1)
            seen.append(change > 1e-6)
    return torch.stack(seen, 1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_window_reaches_as_far_as_it_says(build, implementation):
    attention = {"use": "bidirectional-window", "window": 3}
    found = reach(build("llama", attention=attention, backbone={"attn_implementation": implementation}))
    place = torch.arange(9)
    assert torch.equal(found, (place[:, None] - place).abs() <= 4)  # 2 places in each of 2 layers


def test_a_window_wider_than_the_models_own_changes_nothing(build):
    wide = build("gemma3", attention={"use": "bidirectional-window", "window": 100}).encode(TEXTS)
    np.testing.assert_array_equal(wide, build("gemma3").encode(TEXTS))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_prefix_is_causal_before_the_free_tokens_and_both_ways_among_them(build, implementation):
    free = torch.tensor([[False] * 4 + [True] * 5])
    found = reach(
        build("llama", attention="prefix", backbone={"attn_implementation": implementation}), Layout(free=free)
    )
    expected = torch.ones(9, 9).tril().bool()
    expected[4:, 4:] = True
    assert torch.equal(found, expected)


def test_prefix_reads_the_span_that_is_only_attended_to_as_the_stock_model_does(build):
    embedder = build("llama", attention={"embed": "prefix"}, prompts={"query": "find the answer"})
    tokens = embedder.template.embed(["one text", "and quite another one"], "query", "find the answer")
    instruction = tokens[0].pool.index(True)
    assert instruction > 1
    with torch.no_grad():
        stock = embedder.loaded.body(input_ids=torch.tensor([tokens[0].ids[:instruction]])).last_hidden_state
        batch = torch.tensor([tokens[0].ids])
        with embedder.modes["embed"].active(Layout(free=torch.tensor([tokens[0].pool]))):
            ours = hidden_states(embedder.loaded, batch, torch.ones_like(batch))
    torch.testing.assert_close(ours[:, :instruction], stock, **CLOSE)
    assert not np.allclose(embedder.encode(["one text"], role="query"), build().encode(["one text"], role="query"))


def test_a_prefix_language_model_leaks_nothing_of_the_target(build):
    embedder = build("llama", attention={"generate": "prefix"})
    one, other = (
        embedder.template.likelihood([("where is it", target)])[0] for target in ("it is here", "it is there")
    )
    same = next(i for i, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b)
    states = []
    for text in (one, other):
        ids = torch.tensor([text.ids])
        layout = Layout(free=~torch.tensor([text.target]))
        with torch.no_grad(), embedder.modes["generate"].active(layout):
            states.append(hidden_states(embedder.loaded, ids, torch.ones_like(ids))[0, :same])
    assert torch.equal(*states)
    causal, prefix = build("llama").score(PAIRS)[0], embedder.score(PAIRS)[0]
    assert not np.allclose(causal, prefix), "the prefix must see both ways"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "attention", ["bidirectional", "causal", {"use": "bidirectional-window", "window": 4}, "prefix"]
)
@pytest.mark.parametrize("family", DECODERS)
def test_packed_vectors_and_likelihoods_equal_unpacked_ones(build, family, attention, implementation):
    modes = {"embed": attention, "generate": attention}
    embedder = build(family, attention=modes, backbone={"attn_implementation": implementation})
    texts = embedder.template.embed(TEXTS, "document", "say it")
    pairs = embedder.template.likelihood(PAIRS)
    with torch.no_grad():
        for width in (20, 64):
            torch.testing.assert_close(embedder(VectorCall(texts, packed=width)), embedder(VectorCall(texts)), **CLOSE)
            scores = embedder(LikelihoodCall(pairs, packed=width)), embedder(LikelihoodCall(pairs))
            torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("attention", MODES)
def test_chunks_of_a_packed_text_are_counted_from_its_start(build, attention):
    """Llama 4's tokens see their chunk (8 tokens here) alone: a text that starts inside one must not be cut early."""
    embedder = build("llama4_text", attention=attention, backbone={"use": "auto"})
    texts = embedder.template.embed(TEXTS, "document", "say it")
    with torch.no_grad():
        torch.testing.assert_close(embedder(VectorCall(texts, packed=64)), embedder(VectorCall(texts)), **CLOSE)


def test_packing_fills_rows_and_loses_no_token(build):
    texts = build().template.embed(TEXTS, "document")
    packed = pack(texts, 40)
    assert len(packed.ids) < len(texts)
    assert packed.mask.sum() == sum(map(len, texts))
    flat = packed.ids.flatten()
    for text, index in zip(texts, packed.index, strict=True):
        assert tuple(flat[index[: len(text)]].tolist()) == text.ids
    assert pack(texts, 1).ids.shape[1] == max(map(len, texts)), "a text longer than the width has a row of its own"


def test_texts_share_rows_on_a_half_precision_base_with_an_adapter(build):
    embedder = build(backbone={"dtype": "bfloat16"}, adapter={"r": 4})
    texts = embedder.template.embed(TEXTS, "document")
    with torch.no_grad():
        together, alone = embedder(VectorCall(texts, packed=64)), embedder(VectorCall(texts))
    assert (together * alone).sum(1).min() > 0.999


def test_packed_texts_get_the_same_gradient(build):
    def gradient(packed: int | None) -> torch.Tensor:
        embedder = build()
        texts = embedder.template.embed(TEXTS, "document")
        weights = torch.linspace(-1, 1, 64)
        (embedder(VectorCall(texts, packed=packed)) @ weights).sum().backward()
        return embedder.loaded.body.layers[0].mlp.down_proj.weight.grad

    torch.testing.assert_close(gradient(30), gradient(None), **CLOSE)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_texts_of_a_model_with_masks_of_its_own_cannot_share_a_row(build, monkeypatch, attention):
    embedder = build(attention=attention)
    layer = embedder.loaded.body.layers[1]
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda states, attention_mask=None, **kwargs: forward(states, **kwargs))
    with pytest.raises(ConfigError, match="layers that build masks of their own: its texts cannot share"):
        embedder(VectorCall(embedder.template.embed(TEXTS, "document"), packed=64))


def test_texts_of_a_model_without_positions_cannot_share_a_row(build, monkeypatch):
    embedder = build()
    monkeypatch.setattr("ullme.model.probe.takes_positions", lambda loaded: False)
    with pytest.raises(ConfigError, match="takes no position ids"):
        embedder(VectorCall(embedder.template.embed(TEXTS, "document"), packed=64))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_compiled_layers_have_no_graph_break_in_either_mode(build, family):
    embedder = build(family)
    ids = torch.randint(10, 200, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    calls = []
    block = embedder.loaded.blocks[0]
    handle = block.register_forward_pre_hook(lambda m, a, k: calls.append((a, k)), with_kwargs=True)
    for mode in ("embed", "generate"):
        with torch.no_grad(), embedder.modes[mode].active():
            hidden_states(embedder.loaded, ids, mask)
    handle.remove()
    for args, kwargs in calls:
        torch._dynamo.reset()
        explained = torch._dynamo.explain(block)(*args, **kwargs)
        assert explained.graph_break_count == 0, explained.break_reasons


def test_a_window_is_refused_where_layers_would_ignore_it(build):
    """DeBERTa builds its masks itself: it would attend to everything, and the probe would not notice."""
    assert build("deberta", backbone={"use": "auto"}).dimension == 64
    with pytest.raises(AttentionError, match="its layers take no window from outside"):
        build("deberta", attention={"use": "bidirectional-window", "window": 4}, backbone={"use": "auto"})


def test_prefix_is_refused_for_an_encoder(build):
    """Nothing in it is causal, so its instruction would not be either."""
    with pytest.raises(AttentionError, match="reads every text both ways, and prefix leaves a part of it causal"):
        build("bert", attention="prefix")


def test_prefix_and_flash_do_not_go_together(build):
    embedder = build(attention="prefix")
    embedder.loaded.body.config._attn_implementation = "flash_attention_2"
    with pytest.raises(AttentionError, match="needs a mask"):
        embedder.modes["embed"].install(embedder.loaded)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"refusal": "ALiBi grows to the right.\n  Use causal."}, "ALiBi grows to the right"),
        ({"recurrent": ("conv",)}, r"left to right whatever the attention \(conv\)"),
    ],
)
def test_what_must_not_look_ahead_is_refused_with_its_reason(build, facts, expected):
    embedder = build()
    for name, value in facts.items():
        setattr(embedder.loaded, name, value)
    with pytest.raises(AttentionError, match=expected):
        embedder.modes["embed"].install(embedder.loaded)
