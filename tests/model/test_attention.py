"""Who sees whom: against stock transformers in causal mode, by properties in bidirectional mode."""

from __future__ import annotations

import threading

import pytest
import torch
import transformers

from ullme import AttentionError, probe_attention
from ullme.model.states import hidden_states
from ullme_plugins.attention import _mode

DECODERS = ["llama", "gpt_neox", "gemma3"]
IMPLEMENTATIONS = [
    "eager",
    "sdpa",
    pytest.param("flex_attention", marks=pytest.mark.slow),
]  # flex compiles for a minute


def text(length: int = 9, rows: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(10, 200, (rows, length), generator=torch.Generator().manual_seed(3))
    return ids, torch.ones_like(ids)


def moved(embedder, mode: str, changed: int, watched: int) -> bool:
    """Whether changing the token at `changed` moves the last state at `watched`."""
    ids, mask = text()
    other = ids.clone()
    other[0, changed] = 5
    with torch.no_grad(), embedder.modes[mode].active():
        a, b = (hidden_states(embedder.loaded, x, mask)[0, watched] for x in (ids, other))
    return not torch.equal(a, b)


def assert_checkpointing_changes_no_gradient(make, reentrant: bool) -> None:
    """The backward runs after the attention context has been left: recomputed layers must still attend both ways."""

    def gradient(checkpointing: bool) -> torch.Tensor:
        embedder = make().train()
        if checkpointing:
            embedder.loaded.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            embedder.loaded.model.enable_input_require_grads()
        ids, mask = text()
        with embedder.modes["embed"].active():
            states = hidden_states(embedder.loaded, ids, mask)
        states[0, 2].sum().backward()
        return embedder.loaded.body.layers[0].self_attn.q_proj.weight.grad

    torch.testing.assert_close(gradient(True), gradient(False), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", DECODERS)
def test_causal_mode_is_bit_equal_to_stock(build, tiny_models, family, implementation):
    embedder = build(family, backbone={"attn_implementation": implementation})
    stock = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_models(family), attn_implementation=implementation
    ).eval()
    ids, mask = text(rows=2)
    mask[1, 6:] = 0
    embedder.encode(["a bidirectional call must leave nothing behind"])
    with torch.no_grad(), embedder.modes["generate"].active():
        ours = embedder.loaded.model(input_ids=ids, attention_mask=mask).logits
    with torch.no_grad():
        assert torch.equal(ours, stock(input_ids=ids, attention_mask=mask).logits)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", DECODERS)
def test_a_later_token_moves_an_earlier_state_in_bidirectional_mode_only(build, family, implementation):
    embedder = build(family, backbone={"attn_implementation": implementation})
    assert moved(embedder, "embed", changed=4, watched=3)
    assert moved(embedder, "embed", changed=3, watched=4)
    assert not moved(embedder, "generate", changed=4, watched=3)
    assert moved(embedder, "generate", changed=3, watched=4)


def test_a_sliding_window_keeps_its_width_on_both_sides(build):
    embedder = build("gemma3")  # window 4, two layers: a state is reached from at most 6 places away
    assert moved(embedder, "embed", changed=6, watched=0)
    assert not moved(embedder, "embed", changed=7, watched=0)


def test_eager_and_sdpa_agree(build):
    texts = ["one short text", "another text that is somewhat longer than the first"]
    a, b = (build("llama", backbone={"attn_implementation": i}).encode(texts) for i in ("eager", "sdpa"))
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=1e-5, rtol=0)


def test_threads_do_not_disturb_each_other(build):
    embedder = build()
    ids, mask = text()
    with torch.no_grad():
        with embedder.modes["generate"].active():
            causal = hidden_states(embedder.loaded, ids, mask)
        with embedder.modes["embed"].active():
            both = hidden_states(embedder.loaded, ids, mask)
    wrong: list[str] = []

    def work(mode: str, expected: torch.Tensor) -> None:
        for _ in range(60):
            with torch.no_grad(), embedder.modes[mode].active():
                if not torch.equal(hidden_states(embedder.loaded, ids, mask), expected):
                    wrong.append(mode)

    threads = [threading.Thread(target=work, args=pair) for pair in [("embed", both), ("generate", causal)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gradient_checkpointing_replays_the_mode_after_the_context(build, implementation, reentrant):
    def make():
        return build("llama", backbone={"attn_implementation": implementation})

    assert_checkpointing_changes_no_gradient(make, reentrant)


def test_generation_is_unchanged_by_embedding_calls(build, tiny_models):
    embedder = build()
    stock = transformers.AutoModelForCausalLM.from_pretrained(tiny_models("llama")).eval()
    ids, mask = text()
    embedder.encode(["something"])
    options = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 5, "do_sample": False, "pad_token_id": 3}
    with torch.no_grad():
        assert torch.equal(embedder.loaded.model.generate(**options), stock.generate(**options))


def test_an_encoder_is_bidirectional_and_cannot_be_made_causal(build):
    assert all(probe_attention(build("bert").loaded, build("bert").modes["embed"]).sees_future)
    with pytest.raises(AttentionError, match=r"2 of 2 layers \(0, 1\) lets a token see the next one"):
        build("bert", attention="causal")


def test_a_recurrent_model_is_refused(build):
    embedder = build()
    embedder.loaded.recurrent = ("mamba",)
    with pytest.raises(AttentionError, match="left to right"):
        embedder.modes["embed"].install(embedder.loaded)


def test_the_probe_finds_the_one_layer_that_does_not_obey(build, monkeypatch):
    embedder = build()
    layer = embedder.loaded.body.layers[1]
    forward = layer.forward
    blind = torch.ones(1, 1, 14, 14).tril().bool()

    def stubborn(hidden_states, attention_mask=None, **kwargs):
        size = hidden_states.shape[1]
        return forward(hidden_states, attention_mask=blind[..., :size, :size], **kwargs)

    monkeypatch.setattr(layer, "forward", stubborn)
    assert probe_attention(embedder.loaded, embedder.modes["embed"]).sees_future == (True, False)


class TestFlash:
    """Flash kernels need a GPU; their flags and masks do not. A pure-torch kernel stands in, registered as flash."""

    @pytest.fixture
    def flash(self, build, monkeypatch):
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS
        from transformers.masking_utils import flash_attention_mask
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KERNELS

        name = "flash_attention_2"

        def kernel(module, query, key, value, attention_mask, scaling=None, is_causal=None, **kwargs):
            causal = module.is_causal if is_causal is None else is_causal
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            size = query.shape[2]
            allowed = torch.ones(size, size, dtype=torch.bool)
            allowed = (allowed.tril() if causal else allowed)[None, None]
            if attention_mask is not None:
                allowed = allowed & attention_mask[:, None, None, :].bool()
            out = torch.nn.functional.scaled_dot_product_attention(query, key, value, allowed, scale=scaling)
            return out.transpose(1, 2), None

        monkeypatch.setitem(KERNELS._global_mapping, name, kernel)
        monkeypatch.setitem(MASKS._global_mapping, name, flash_attention_mask)

        def make():
            embedder = build(backbone={"attn_implementation": "sdpa"})
            embedder.loaded.model.config._attn_implementation = name
            embedder.modes["embed"].install(embedder.loaded)
            return embedder

        return make

    def test_both_modes(self, flash):
        embedder = flash()
        assert all(probe_attention(embedder.loaded, embedder.modes["embed"]).sees_future)
        assert not any(probe_attention(embedder.loaded, embedder.modes["generate"]).sees_future)

    def test_equals_sdpa_with_and_without_padding(self, flash, build):
        texts = ["a text", "a text of another length, to be padded", "a text"]
        a, b = flash().encode(texts), build().encode(texts)
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpointing_replays_the_mode(self, flash, reentrant):
        assert_checkpointing_changes_no_gradient(flash, reentrant)


def test_installing_twice_wraps_once(build):
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    build()
    wrapped = MASKS["sdpa"]
    _mode.install(build().loaded, ahead=True)
    assert MASKS["sdpa"] is wrapped
