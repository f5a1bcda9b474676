"""Likelihoods against stock logits, by hand; the LM head in pieces against the whole; the reference model."""

from __future__ import annotations

import pytest
import torch
import transformers

from ullme import ConfigError
from ullme.model.embedder import LikelihoodCall
from ullme.model.likelihood import token_log_probs

PAIRS = [("is it a fox", "the fox jumps"), ("x", "a much longer target, with several words"), ("long prefix here", "y")]


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3"])
def test_scores_equal_stock_logits(build, tiny_models, family):
    embedder = build(family)
    totals, counts = embedder.score(PAIRS)
    stock = transformers.AutoModelForCausalLM.from_pretrained(tiny_models(family)).eval()
    tokenizer = embedder.loaded.tokenizer
    for (prefix, target), total, count in zip(PAIRS, totals, counts, strict=True):
        ids = tokenizer(f"{prefix}\n{target}", return_tensors="pt", add_special_tokens=False)["input_ids"]
        start = len(tokenizer(f"{prefix}\n", add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logp = stock(input_ids=ids).logits[0, :-1].log_softmax(-1)
        expected = logp.gather(1, ids[0, 1:, None])[start - 1 :, 0]
        assert count == len(expected)
        torch.testing.assert_close(torch.tensor(total), expected.sum(), atol=1e-4, rtol=1e-5)


def test_soft_capping_is_applied(build):
    """Gemma's capped logits lie within +-5, so no log-probability of 400 tokens is below -(10 + log 400)."""
    embedder = build("gemma3")
    embedder.loaded.head.weight.data.mul_(100)
    totals, counts = embedder.score(PAIRS)
    assert (totals / counts).min() > -(10 + 6.1)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_pieces_equal_the_whole_in_value_and_gradient(rows, frozen):
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50).requires_grad_(not frozen)
    targets, weights = torch.randint(0, 50, (11,)), torch.randn(11)
    gradients = []
    for whole in (True, False):
        head.zero_grad()
        hidden = torch.randn(11, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        if whole:
            logits = 5 * torch.tanh(head(hidden) / 5)
            scores = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        else:
            scores = token_log_probs(head, hidden, targets, rows, lambda logits: 5 * torch.tanh(logits / 5))
        (scores * weights).sum().backward()
        gradients.append([scores.detach(), hidden.grad, *([] if frozen else [head.weight.grad, head.bias.grad])])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_the_whole_logits_never_exist(monkeypatch):
    seen = []
    head = torch.nn.Linear(8, 30).requires_grad_(False)
    head.register_forward_hook(lambda module, args, output: seen.append(output.shape[0]))
    hidden = torch.randn(20, 8, requires_grad=True)
    token_log_probs(head, hidden, torch.zeros(20, dtype=torch.long), 6).sum().backward()
    assert max(seen) == 6
    assert sum(seen) == 20


def test_scores_do_not_depend_on_the_batch(build):
    embedder = build()
    together, _ = embedder.score(PAIRS)
    alone = [embedder.score([pair])[0][0] for pair in PAIRS]
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone), atol=1e-4, rtol=1e-5)


class TestReference:
    def tokens(self, embedder):
        return LikelihoodCall(embedder.template.likelihood(PAIRS))

    def test_is_the_base_model_bit_for_bit_without_dropout(self, build):
        embedder = build(adapter={"r": 4, "dropout": 0.5}).train()
        for name, parameter in embedder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        base = build().eval()
        with embedder.reference():
            reference = embedder(self.tokens(embedder))
        with torch.no_grad():
            assert torch.equal(reference, base(self.tokens(base)))
            assert not torch.allclose(embedder(self.tokens(embedder)), reference)

    def test_leaves_frozen_adapters_frozen_and_the_mode_as_it_was(self, build):
        embedder = build(adapter={"r": 4}).train()
        frozen = next(name for name in embedder.trainable())
        dict(embedder.named_parameters())[frozen].requires_grad_(False)
        before = set(embedder.trainable())
        with embedder.reference():
            assert not embedder.training
        assert set(embedder.trainable()) == before
        assert embedder.training

    def test_needs_an_adapter(self, build):
        with pytest.raises(ConfigError, match="only an adapter"), build().reference():
            pass


def test_an_encoder_gives_no_likelihood(build):
    with pytest.raises(ConfigError, match="cannot score"):
        build("bert").score(PAIRS)
