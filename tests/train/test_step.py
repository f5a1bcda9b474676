"""The cached step: equal to the plain graph for any chunking, exact under dropout, all losses together."""

from __future__ import annotations

import pytest
import torch

from ullme import CachedStep, Likelihood, TrainingError, Vector, WeightedLoss, make_batch
from ullme.loss_inputs import LogProbs, LossInputs, Terms
from ullme.model.embedder import LikelihoodCall, VectorCall
from ullme.plugins.registry import Registry

ALL = {"infonce": 1.0, "dpo": 0.5, "grl-kl": 1.0, "sft": 0.3}


def losses(*names: str) -> list[WeightedLoss]:
    made = []
    for name in names or ALL:
        loss = Registry().load("loss", name)()
        made.append(WeightedLoss(name, ALL.get(name, 1.0), tuple(loss.needs), loss.build()))
    return made


def perturbed(embedder):
    """The adapter as if trained a while: a fresh one equals its reference, which hides mistakes."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in embedder.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return embedder.train()


def gradients(embedder) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in embedder.trainable().values() if p.grad is not None])


def plain_step(embedder, chosen, batch, groups=None):
    """One graph, written from the definitions: no cache, no chunks unless `groups` gives those of the vectors."""
    template, owner = embedder.template, batch.owner
    pairs = [(batch.queries[o], text) for o, text in zip(owner.tolist(), batch.candidates, strict=True)]
    scored = LikelihoodCall(template.likelihood(pairs))
    with embedder.reference():
        before = embedder(scored)
    queries = embedder(VectorCall(template.embed(batch.queries, "query")))
    documents = embedder(VectorCall(template.embed(batch.candidates, "document")))
    counts = torch.tensor([sum(text.target) for text in scored.texts], dtype=torch.float32)
    whole = LogProbs(embedder(scored), counts, torch.arange(len(pairs)), before)
    likelihoods = {}
    for loss in chosen:
        for need in loss.needs:
            if isinstance(need, Likelihood):
                likelihoods[need] = whole.rows(batch.relevance > 0) if need.pairs == "positives" else whole
    vectors = {Vector("query"): queries, Vector("document"): documents}
    inputs = LossInputs(vectors, likelihoods, owner, batch.relevance, batch.excluded)
    total = 0.0
    for loss in chosen:
        answer = loss.function(inputs)
        terms = answer if isinstance(answer, Terms) else Terms(answer)
        count = len(terms.values) if terms.counts is None else terms.counts.sum()
        total = total + loss.weight * terms.values.sum() / count
    total.backward()
    return float(total.detach())


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3"])
@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("chunk", [1, 40, 100, 10_000])
def test_gradients_equal_the_plain_graph_for_any_chunk_size(build, examples, chunk, adapter, family):
    """chunk 1: every text alone; 40: a few; 10000: the whole batch in one forward."""
    batch = make_batch(examples[:5])
    names = tuple(ALL) if adapter else ("infonce", "sft")  # a reference needs an adapter or a copy
    results = []
    for cached in (False, True):
        embedder = perturbed(build(family, adapter={"r": 4} if adapter else None))
        embedder.head_rows = 7
        if not adapter and not cached:
            embedder.reference = embedder.evaluating  # not used by these losses
        chosen = losses(*names)
        if cached:
            value = CachedStep(embedder, chosen, chunk_tokens=chunk)(batch).loss
        else:
            value = plain_step(embedder, chosen, batch)
        results.append((value, gradients(embedder)))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    assert relative(results[1][1], results[0][1]) < 1e-5


@pytest.mark.parametrize("name", list(ALL))
def test_each_loss_alone_is_exact_too(build, examples, name):
    batch = make_batch(examples[:4])
    made = []
    for chunk in (None, 1, 60):
        embedder = perturbed(build(adapter={"r": 4}))
        if chunk is None:
            plain_step(embedder, losses(name), batch)
        else:
            CachedStep(embedder, losses(name), chunk_tokens=chunk)(batch)
        made.append(gradients(embedder))
    assert relative(made[1], made[0]) < 1e-5
    assert relative(made[2], made[0]) < 1e-5


class TestDropout:
    def run(self, build, examples, step_class, chunk=60):
        embedder = perturbed(build(adapter={"r": 4, "dropout": 0.3}))
        torch.manual_seed(11)
        step_class(embedder, losses(), chunk_tokens=chunk)(make_batch(examples[:5]))
        return gradients(embedder)

    def test_equals_the_plain_graph_of_the_same_chunks(self, build, examples):
        """All graphs kept at once: the same forwards in the same order, none of them a second time."""

        class Plain(CachedStep):
            def _kept(self, jobs):
                return len(jobs)

        assert relative(self.run(build, examples, CachedStep), self.run(build, examples, Plain)) < 1e-6

    def test_would_differ_without_the_random_state(self, build, examples, monkeypatch):
        good = self.run(build, examples, CachedStep)
        monkeypatch.setattr("ullme.train.step._set_random_state", lambda state, device: None)
        assert relative(self.run(build, examples, CachedStep), good) > 0.05


def test_the_random_state_goes_on_as_if_there_had_been_no_replay(build, examples):
    after = []
    for chunk in (30, 10_000):
        embedder = perturbed(build(adapter={"r": 4, "dropout": 0.0}))
        torch.manual_seed(3)
        CachedStep(embedder, losses(), chunk_tokens=chunk)(make_batch(examples[:4]))
        after.append(torch.rand(1))
    assert torch.equal(*after)


@pytest.mark.parametrize("name", ["dpo", "grl-kl", "sft", "infonce"])
def test_every_adapter_weight_gets_gradient(build, examples, name):
    embedder = perturbed(build(adapter={"r": 4}))
    CachedStep(embedder, losses(name), chunk_tokens=50)(make_batch(examples[:4]))
    without = [key for key, p in embedder.trainable().items() if p.grad is None or not p.grad.any()]
    assert not without


def test_grl_pulls_elsewhere_than_contrastive_alone(build, examples):
    batch, made = make_batch(examples[:5]), []
    for names in (("infonce",), ("infonce", "dpo", "grl-kl")):
        embedder = perturbed(build(adapter={"r": 4}))
        CachedStep(embedder, losses(*names))(batch)
        made.append(gradients(embedder))
    assert torch.nn.functional.cosine_similarity(*made, dim=0) < 0.99


def test_the_reference_differs_from_the_policy_after_a_step(build, examples):
    embedder = build(adapter={"r": 4}).train()
    batch, seen = make_batch(examples[:5]), []

    def spy(inputs):
        scores = inputs.likelihood(need)
        seen.append((scores.total.detach() - scores.reference).abs().max())
        return -scores.total

    need = Likelihood("query", "document", reference=True)
    step = CachedStep(embedder, [WeightedLoss("spy", 1.0, (need,), spy)])
    optimizer = torch.optim.SGD(embedder.trainable().values(), lr=0.01)
    step(batch)
    optimizer.step()
    step(batch)
    assert seen[0] < 1e-4  # fp32 noise between a LoRA of zeros and none
    assert seen[1] > 1e-2


def test_a_frozen_copy_serves_as_reference_when_all_weights_train(build, examples):
    values = []
    for adapter in (True, False):
        embedder = build(adapter={"r": 4} if adapter else None).train()
        copy = None if adapter else build()
        values.append(
            CachedStep(embedder, losses("dpo"), frozen_reference=copy)(make_batch(examples[:4])).losses["dpo"]
        )
    assert values[0] == pytest.approx(0.693147, abs=1e-4)
    assert values[1] == pytest.approx(0.693147, abs=1e-6)


def test_only_a_seeded_fraction_of_the_queries_is_scored(build, examples):
    embedder = build(adapter={"r": 4}).train()
    batch, seen = make_batch(examples), []

    def spy(inputs):
        seen.append(inputs.owner[inputs.likelihood(need).candidate].unique().tolist())
        return -inputs.likelihood(need).total

    need = Likelihood("query", "document")
    step = CachedStep(embedder, [WeightedLoss("spy", 1.0, (need,), spy)], likelihood_fraction=0.3)
    for number in (0, 0, 1):
        step(batch, step=number)
    assert [len(queries) for queries in seen] == [3, 3, 3]
    assert seen[0] == seen[1] != seen[2]


def test_views_are_forwards_of_their_own(build, examples):
    embedder = perturbed(build(adapter={"r": 4, "dropout": 0.3}))
    needs, seen = (Vector("query"), Vector("query", view=1)), []

    def spy(inputs):
        seen.append([inputs.vectors[need].detach() for need in needs])
        return inputs.vectors[needs[0]].sum(1) + inputs.vectors[needs[1]].sum(1)

    CachedStep(embedder, [WeightedLoss("spy", 1.0, needs, spy)])(make_batch(examples[:3]))
    assert seen[0][0].shape == seen[0][1].shape
    assert not torch.equal(*seen[0])


def test_a_loss_that_is_not_finite_stops_with_its_name_and_rows(build, examples):
    embedder = perturbed(build(adapter={"r": 4}))
    broken = WeightedLoss("broken", 1.0, (Vector("query"),), lambda inputs: inputs.vector("query").sum(1) * torch.nan)
    with pytest.raises(TrainingError, match=r"step 7: loss 'broken' is nan; rows row-0, row-1, row-2"):
        CachedStep(embedder, [broken])(make_batch(examples[:3]), step=7)
    assert all(p.grad is None for p in embedder.trainable().values())


def test_without_backward_nothing_is_changed(build, examples):
    embedder = perturbed(build(adapter={"r": 4}))
    batch = make_batch(examples[:4])
    with_gradient = CachedStep(embedder, losses())(batch).losses
    embedder.zero_grad()
    assert CachedStep(embedder, losses())(batch, backward=False).losses == pytest.approx(with_gradient, rel=1e-5)
    assert all(p.grad is None for p in embedder.trainable().values())


def test_passages_of_one_group_are_not_each_others_negatives():
    from ullme import Example

    rows = [
        Example("a", ("p",), ("n",), group="g"),
        Example("b", ("p2",), ("p",), group="g"),
        Example("c", ("x",), group="h"),
    ]
    batch = make_batch(rows)
    assert batch.candidates == ["p", "n", "p2", "p", "x"]
    assert batch.excluded.tolist() == [
        [False, False, True, True, False],  # row b's positive is of the same group; its negative is a's own positive
        [True, False, False, False, False],
        [False, False, False, False, False],
    ]
