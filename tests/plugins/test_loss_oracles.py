"""Losses against code that nobody here wrote: pytorch-metric-learning, TRL, torch's own KL."""

from __future__ import annotations

import types
from collections import defaultdict

import pytest
import torch

from ullme import Likelihood, LogProbs, LossInputs, Terms, Vector
from ullme_plugins.losses.dpo import DPO
from ullme_plugins.losses.grl_kl import GRLKL
from ullme_plugins.losses.infonce import InfoNCE
from ullme_plugins.losses.ntxent import NTXent
from ullme_plugins.losses.sft import SFT

COUNTS = [(1, 2), (2, 3), (1, 1), (3, 1)]  # positives and negatives of each query


def batch(seed: int = 0, need: Likelihood | None = None, tokens: torch.Tensor | None = None) -> LossInputs:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.tensor([query for query, (p, n) in enumerate(COUNTS) for _ in range(p + n)])
    relevance = torch.cat([torch.tensor([1.0] * p + [0.0] * n) for p, n in COUNTS])
    size, queries = len(owner), len(COUNTS)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.randint(2, 9, (size,), generator=generator).float()
    scores = LogProbs(-lengths * random(size).abs(), lengths, torch.arange(size), -lengths * random(size).abs())
    for tensor in (scores.total,):
        tensor.requires_grad_()
    vectors = {
        Vector("query"): random(queries, 16).requires_grad_(),
        Vector("document"): random(size, 16).requires_grad_(),
    }
    likelihoods = {}
    for request in (Likelihood("query", "document"), Likelihood("query", "document", reference=True)):
        likelihoods[request] = scores
    likelihoods[SFT.needs[0]] = scores.rows(relevance > 0)
    return LossInputs(vectors, likelihoods, owner, relevance, torch.zeros(queries, size, dtype=torch.bool))


def mean(answer: torch.Tensor | Terms) -> torch.Tensor:
    if isinstance(answer, Terms):
        return answer.values.sum() / (len(answer.values) if answer.counts is None else answer.counts.sum())
    return answer.mean()


class TestInfoNCE:
    def theirs(self, inputs: LossInputs, temperature: float, in_batch: bool = True) -> torch.Tensor:
        losses = pytest.importorskip("pytorch_metric_learning.losses")
        queries, size = len(COUNTS), len(inputs.owner)
        label = torch.where(inputs.positive, inputs.owner, torch.arange(size) + 100)  # a negative is like nothing else
        anchor, positive = (torch.arange(queries)[:, None] == label[None, :]).nonzero(as_tuple=True)
        negatives = torch.arange(queries)[:, None] != label[None, :]
        if not in_batch:
            negatives &= inputs.own
        pairs = (anchor, positive, *negatives.nonzero(as_tuple=True))
        function = losses.NTXentLoss(temperature=temperature)
        vectors = inputs.vector("query"), inputs.vector("document")
        return function(vectors[0], torch.arange(queries), pairs, ref_emb=vectors[1], ref_labels=label)

    @pytest.mark.parametrize("temperature", [0.05, 1.0])
    @pytest.mark.parametrize("in_batch", [True, False])
    def test_equals_ntxent_in_value_and_gradient(self, temperature, in_batch):
        ours, theirs = batch(), batch()
        a = mean(InfoNCE(InfoNCE.Config(temperature=temperature, in_batch=in_batch))(ours))
        b = self.theirs(theirs, temperature, in_batch)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        for inputs, value in ((ours, a), (theirs, b)):
            value.backward()
            assert inputs.vector("query").grad.abs().sum() > 0
        for role in ("query", "document"):
            torch.testing.assert_close(ours.vector(role).grad, theirs.vector(role).grad, atol=1e-5, rtol=1e-4)

    def test_an_excluded_candidate_has_no_influence(self):
        inputs = batch()
        inputs.excluded[0, inputs.owner == 1] = True
        InfoNCE()(inputs).values[0].backward()
        assert not inputs.vector("document").grad[inputs.owner == 1].any()
        assert inputs.vector("document").grad[inputs.owner == 2].any()


class TestNTXent:
    def theirs(self, inputs: LossInputs, temperature: float, distance: str) -> torch.Tensor:
        """Every vector is an anchor; a positive has its query's label and each negative one of its own."""
        losses = pytest.importorskip("pytorch_metric_learning.losses")
        distances = pytest.importorskip("pytorch_metric_learning.distances")
        queries, size = len(COUNTS), len(inputs.owner)
        labels = torch.where(inputs.positive, inputs.owner, torch.arange(size) + queries)
        measure = distances.CosineSimilarity() if distance == "cosine" else distances.LpDistance()
        function = losses.NTXentLoss(temperature=temperature, distance=measure)
        rows = torch.cat([inputs.vector("query"), inputs.vector("document")])
        return function(rows, torch.cat([torch.arange(queries), labels]))

    @pytest.mark.parametrize("temperature", [0.05, 1.0])
    @pytest.mark.parametrize("distance", ["cosine", "l2"])
    def test_equals_pytorch_metric_learning_in_value_and_gradient(self, temperature, distance):
        ours, theirs = batch(), batch()
        a = mean(NTXent(NTXent.Config(temperature=temperature, distance=distance))(ours))
        b = self.theirs(theirs, temperature, distance)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        a.backward()
        b.backward()
        for role in ("query", "document"):
            assert theirs.vector(role).grad.abs().sum() > 0
            torch.testing.assert_close(ours.vector(role).grad, theirs.vector(role).grad, atol=1e-5, rtol=1e-4)

    def test_pairs_are_those_of_every_class_in_both_orders(self):
        pairs = sum((1 + positives) * positives for positives, _ in COUNTS)
        assert len(NTXent()(batch()).values) == pairs

    def test_rows_that_belong_together_do_not_push_each_other(self):
        """As if the second query and its positives were not there, for the first query and its positives."""
        inputs = batch()
        inputs.excluded[0, (inputs.owner == 1) & inputs.positive] = True
        together = NTXent()(inputs)
        # Terms come anchor by anchor: queries first (one pair a positive), so the first two belong to queries 0 and 1.
        together.values[0].backward()
        assert not inputs.vector("query").grad[1].any()
        assert not inputs.vector("document").grad[(inputs.owner == 1) & inputs.positive].any()
        assert inputs.vector("document").grad[(inputs.owner == 1) & ~inputs.positive].any()
        assert inputs.vector("query").grad[2].any()

    def test_exclusion_holds_in_both_directions_and_for_passages(self):
        inputs = batch()
        inputs.excluded[0, (inputs.owner == 1) & inputs.positive] = True
        values = NTXent()(inputs).values
        second = int(COUNTS[0][0])  # the first term of query 1
        values[second].backward()
        assert not inputs.vector("query").grad[0].any()
        assert not inputs.vector("document").grad[(inputs.owner == 0) & inputs.positive].any()
        assert inputs.vector("document").grad[(inputs.owner == 0) & ~inputs.positive].any()

    def test_a_negative_that_is_anothers_positive_is_kept_from_its_whole_class(self):
        inputs = batch()
        (stolen,) = ((inputs.owner == 1) & ~inputs.positive).nonzero(as_tuple=True)
        inputs.excluded[0, stolen[0]] = True  # a negative of query 1 says the same as a positive of query 0
        values = NTXent()(inputs).values
        queries = sum(positives for positives, _ in COUNTS)
        (values[0] + values[queries]).backward()  # query 0 as an anchor, then its positive as an anchor
        assert not inputs.vector("document").grad[stolen[0]].any()
        assert inputs.vector("document").grad[stolen[1]].any()

    def test_equal_vectors_have_finite_gradients(self):
        inputs = batch()
        inputs.vector("document").data[0] = inputs.vector("query").data[0]
        mean(NTXent(NTXent.Config(distance="l2"))(inputs)).backward()
        assert inputs.vector("document").grad.isfinite().all()


class TestDPO:
    def test_equals_trl(self):
        trainer = pytest.importorskip("trl.trainer.dpo_trainer")
        inputs = batch(2)
        pairs = inputs.preferences(DPO.needs[0])
        assert len(pairs.query) == sum(p * n for p, n in COUNTS)
        torch.testing.assert_close(
            mean(DPO(DPO.Config(beta=0.3))(inputs)), trl_dpo(trainer.DPOTrainer, pairs, beta=0.3), atol=1e-6, rtol=1e-5
        )

    def test_is_log_2_where_policy_and_reference_agree(self):
        inputs = batch()
        scores = inputs.likelihood(DPO.needs[0])
        scores.reference.copy_(scores.total.detach())
        answer = DPO()(inputs)
        assert mean(answer).item() == pytest.approx(0.6931472, abs=1e-6)
        assert answer.metrics["reward_accuracy"] == 0


def trl_dpo(trainer, pairs, beta: float) -> torch.Tensor:
    """TRL's own loss, called without a trainer, on sequences of one token that hold our sums."""
    size = len(pairs.query)
    policy = torch.cat([pairs.chosen.total, pairs.rejected.total]).detach()[:, None]
    before = torch.cat([pairs.chosen.reference, pairs.rejected.reference])[:, None]

    class Model(torch.nn.Module):
        is_gradient_checkpointing = False

        def __init__(self, log_probs):
            super().__init__()
            self.log_probs = log_probs

        def forward(self, **kwargs):
            zero = torch.zeros_like(self.log_probs)
            return types.SimpleNamespace(
                log_probs=self.log_probs,
                entropy=zero,
                mean_logits=zero,
                is_top1=zero.bool(),
                aux_loss=None,
                log_sum_sq_probs=zero,
            )

    same = types.SimpleNamespace
    fake = same(
        model=Model(policy),
        ref_model=Model(before),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        accelerator=same(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x, unwrap_model=lambda m: m),
        args=same(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=0.5,
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=0.0,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    ones = torch.ones(2 * size, 2, dtype=torch.long)
    mask = torch.tensor([[0, 1]]).repeat(2 * size, 1)
    return trainer._compute_loss(
        fake, fake.model, {"input_ids": ones, "attention_mask": ones, "completion_mask": mask}, False
    )


class TestSFT:
    def test_is_the_token_mean_over_all_positives(self):
        inputs = batch()
        scores = inputs.likelihood(SFT.needs[0])
        assert len(scores.total) == sum(p for p, _ in COUNTS)
        torch.testing.assert_close(mean(SFT()(inputs)), -scores.total.sum() / scores.tokens.sum())


class TestGRLKL:
    def by_query(self, inputs: LossInputs, direction: str, t_rt: float = 1.0, t_gen: float = 1.0) -> torch.Tensor:
        """torch's own kl_div, one query at a time."""
        scores, terms = inputs.likelihood(GRLKL.needs[2]), []
        for query in range(len(COUNTS)):
            own = inputs.owner == query
            cosine = torch.cosine_similarity(inputs.vector("query")[query, None], inputs.vector("document")[own])
            rt, gen = (cosine / t_rt).log_softmax(0), (scores.total[own] / scores.tokens[own] / t_gen).log_softmax(0)
            p, q = (rt, gen) if direction == "rt-gen" else (gen, rt)
            terms.append(torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True))
        return torch.stack(terms)

    @pytest.mark.parametrize("direction", ["rt-gen", "gen-rt"])
    @pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.05, 2.0)])
    def test_equals_kl_div_of_each_query(self, direction, temperatures):
        t_rt, t_gen = temperatures
        config = GRLKL.Config(direction=direction, rt_temperature=t_rt, gen_temperature=t_gen)
        answer = GRLKL(config)(batch())
        torch.testing.assert_close(answer, self.by_query(batch(), direction, t_rt, t_gen), atol=1e-5, rtol=1e-4)

    def test_the_paper_is_the_default(self):
        torch.testing.assert_close(GRLKL()(batch()), self.by_query(batch(), "rt-gen"), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize(
        ("stopped", "rt", "gen"), [("none", True, True), ("rt", False, True), ("gen", True, False)]
    )
    def test_stop_gradient(self, stopped, rt, gen):
        inputs = batch()
        GRLKL(GRLKL.Config(stop_gradient=stopped))(inputs).sum().backward()
        assert (inputs.vector("query").grad is not None) == rt
        assert (inputs.likelihood(GRLKL.needs[2]).total.grad is not None) == gen

    def test_is_zero_where_both_agree(self):
        inputs = batch()
        scores = inputs.likelihood(GRLKL.needs[2])
        queries, documents = inputs.vector("query")[inputs.owner], inputs.vector("document")
        scores.total.data.copy_(torch.cosine_similarity(queries, documents) * scores.tokens)
        assert GRLKL()(inputs).abs().max() < 1e-6

    def test_gradient_by_finite_differences(self):
        need, inputs = GRLKL.needs[2], batch()
        totals = inputs.likelihood(need).total.detach().double().requires_grad_()

        def value(total: torch.Tensor) -> torch.Tensor:
            old = inputs.likelihood(need)
            scores = LogProbs(total.float(), old.tokens, old.candidate)
            return GRLKL()(
                LossInputs(inputs.vectors, {need: scores}, inputs.owner, inputs.relevance, inputs.excluded)
            ).sum()

        (exact,) = torch.autograd.grad(value(totals), totals)
        for index in (0, 5, len(totals) - 1):
            step = torch.zeros_like(totals)
            step[index] = 0.05
            slope = (value(totals.detach() + step) - value(totals.detach() - step)) / 0.1
            assert float(slope) == pytest.approx(float(exact[index]), abs=2e-3)
