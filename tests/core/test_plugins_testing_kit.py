"""The conformance kit lets good plugins pass and catches each kind of bad one."""

import pytest

from ullme import Head, Likelihood, Loss, LossInputs, Pooler, Terms, Vector
from ullme.testing import (
    ComponentConformance,
    HeadConformance,
    LossConformance,
    PoolerConformance,
    random_loss_inputs,
)
from ullme.testing.inputs import reorder_queries
from ullme.testing.loss import loss_value

pytest_plugins = ["ullme.testing.fixtures"]

LIKELIHOOD = Likelihood("query", "document", reference=True)


class Good(Loss):
    """Prefers positives by both halves of the model."""

    needs = (Vector("query"), Vector("document"), LIKELIHOOD)
    needs_negatives = True

    def __call__(self, batch: LossInputs):
        pairs = batch.preferences(LIKELIHOOD)
        rejected = batch.vector("document")[pairs.rejected.candidate]
        scores = (batch.vector("query")[pairs.query] * rejected).sum(1).tanh()
        return scores - (pairs.margin / pairs.chosen.tokens).tanh()


class GoodPooler(Pooler):
    """Mean of the tokens."""

    def __call__(self, hidden, mask):
        kept = mask.to(hidden.dtype)[:, :, None]
        return (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)


class GoodHead(Head):
    """Half as many numbers, by a linear layer."""

    def build(self, size, loaded):
        from torch import nn

        class Half(nn.Linear):
            def forward(self, vectors):
                return super().forward(vectors.float()).to(vectors.dtype)

        return Half(size, size // 2)

    def out_size(self, size):
        return size // 2


@pytest.fixture(autouse=True)
def _registry(isolated_registry, monkeypatch):
    """`Registry()` inside the kit is one that holds the good plugins and nothing else."""
    registry = isolated_registry({"loss": {"good": Good}, "pooler": {"good": GoodPooler}, "head": {"good": GoodHead}})
    monkeypatch.setattr("ullme.testing.component.Registry", lambda: registry)


class TestGoodLoss(LossConformance):
    name = "good"


class TestGoodPooler(PoolerConformance):
    name = "good"


class TestGoodHead(HeadConformance):
    name = "good"


def bad_loss(call, needs=Good.needs, **attributes):
    return type("Bad", (Loss,), {"needs": needs, "__call__": call, "needs_negatives": True, **attributes})()


def ignores_documents(self, batch):
    return batch.vector("query").sum(1) - batch.preferences(LIKELIHOOD).margin.sum()


def changes_its_inputs(self, batch):
    batch.relevance.mul_(2)
    return batch.vector("query").sum(1)


def averages(self, batch):
    return batch.vector("query").mean()


def overflows(self, batch):
    return batch.vector("query").exp().sum(1)


def depends_on_order(self, batch):
    vectors = batch.vector("query")
    return (vectors.roll(1, 0) * vectors).sum(1)


def ignores_the_reference(self, batch):
    return batch.likelihood(LIKELIHOOD).total


@pytest.mark.parametrize(
    ("test", "call", "says"),
    [
        ("gradient_reaches_every_need", ignores_documents, "without gradient: Vector.role='document'"),
        ("inputs_are_left_alone", changes_its_inputs, "an input was changed"),
        ("terms_are_one_dimensional", averages, r"found shape \[\]"),
        ("order_of_queries_does_not_matter", depends_on_order, "not close"),
        ("reference_matters_where_it_is_declared", ignores_the_reference, "no influence"),
    ],
)
def test_a_bad_loss_is_caught(test, call, says):
    loss = bad_loss(call)
    with pytest.raises(AssertionError, match=says):
        getattr(LossConformance(), f"test_{test}")(loss, random_loss_inputs(loss.needs))


def test_a_loss_that_overflows_is_caught():
    with pytest.raises(AssertionError):
        LossConformance().test_is_finite(bad_loss(overflows), 1e3)


def test_a_loss_that_reads_what_it_did_not_declare_is_caught():
    loss = bad_loss(lambda self, batch: batch.vector("document").sum(1), needs=(Vector("query"),))
    with pytest.raises(KeyError, match="document"):
        LossConformance().test_terms_are_one_dimensional(loss, random_loss_inputs(loss.needs))


def test_a_loss_that_applies_its_weight_is_caught():
    class Weighted(Loss):
        needs = (Vector("query"),)

        def __call__(self, batch):
            return self.config.weight * batch.vector("query").sum(1)

    with pytest.raises(AssertionError, match="the driver applies"):
        LossConformance().test_weight_is_left_to_the_driver(Weighted, {}, random_loss_inputs(Weighted.needs))


@pytest.mark.parametrize(
    ("test", "call"),
    [
        ("padding_has_no_influence", lambda self, hidden, mask: hidden.mean(1)),
        ("padding_has_no_influence", lambda self, hidden, mask: hidden[:, -1]),
        ("inputs_are_left_alone", lambda self, hidden, mask: hidden.mul_(mask[:, :, None]).sum(1)),
        ("gives_one_vector_per_text", lambda self, hidden, mask: hidden.float().sum(1)),
        ("gradient_reaches_every_text_and_no_padding", lambda self, hidden, mask: hidden.mean(1)),
    ],
)
def test_a_bad_pooler_is_caught(test, call):
    import torch

    texts = [torch.randn(n, 8) for n in (5, 1, 3)]
    more = ("right", 4) if test.startswith("padding") else ()
    with pytest.raises(AssertionError):
        getattr(PoolerConformance(), f"test_{test}")(type("Bad", (Pooler,), {"__call__": call})(), texts, *more)


@pytest.mark.parametrize(
    ("test", "call"),
    [
        ("tokens_that_are_not_pooled_are_not_read", lambda self, hidden, mask: hidden[:, :5].mean(1)),
        ("a_text_without_pooled_tokens_gives_zero", lambda self, hidden, mask: hidden.sum(1) / mask.sum(1)[:, None]),
        ("mask_may_be_of_any_type", lambda self, hidden, mask: hidden.sum(1) * mask.is_floating_point()),
    ],
)
def test_a_pooler_that_minds_the_mask_too_little_is_caught(test, call):
    import torch

    texts = [torch.randn(n, 8) for n in (5, 1, 3)]
    with pytest.raises(AssertionError):
        getattr(PoolerConformance(), f"test_{test}")(type("Bad", (Pooler,), {"__call__": call})(), texts)


@pytest.mark.parametrize(
    ("layers", "says"), [((), "one layer at least"), ((1, 1), "named twice"), ((1.0,), "whole numbers")]
)
def test_a_pooler_with_wrong_layers_is_caught(layers, says):
    with pytest.raises(AssertionError, match=says):
        PoolerConformance().test_layers_are_numbers_of_hidden_states(type("Bad", (Pooler,), {"layers": layers})())


def test_a_pooler_that_reads_positions_is_given_ranks():
    """Counted from 0 among the tokens of each text, wherever its padding stands."""
    import torch

    seen = []

    def call(self, hidden, mask, positions):
        seen.append(positions[mask.bool()].tolist())
        return GoodPooler()(hidden, mask)

    pooler = type("Reads", (Pooler,), {"__call__": call, "reads_positions": True})()
    PoolerConformance().test_padding_has_no_influence(pooler, [torch.randn(n, 8) for n in (5, 1, 3)], "left", 4)
    assert seen == [[0, 1, 2, 3, 4], [0], [0, 1, 2], [0, 1, 2, 3, 4, 0, 0, 1, 2]]


def head_tests(forward, **methods):
    """The suite of a head whose module does `forward(layer, vectors)`, with what its tests are given."""
    import torch
    from torch import nn

    from ullme import LoadedBackbone

    class Layer(nn.Linear):
        def forward(self, vectors):
            return forward(super().forward, vectors)

    head = type("Bad", (Head,), {"build": lambda self, size, loaded: Layer(size, size), **methods})()
    loaded = LoadedBackbone(nn.Linear(8, 8), nn.Identity(), None, None, hidden_size=8, max_length=1, blocks=[])
    return HeadConformance(), head, loaded, torch.randn(5, 8)


@pytest.mark.parametrize(
    ("test", "forward", "says"),
    [
        ("rows_do_not_depend_on_each_other", lambda layer, vectors: layer(vectors - vectors.mean(0)), "not close"),
        ("gives_the_same_again", lambda layer, vectors: layer(vectors).bernoulli(0.5), "two calls"),
        ("gives_the_same_again", lambda layer, vectors: layer(vectors.zero_()), "changed"),
        ("gradient_reaches_every_vector_and_weight", lambda layer, vectors: layer(vectors * 0), "no gradient"),
        ("gradient_reaches_every_vector_and_weight", lambda layer, vectors: vectors.clone(), "weight, bias"),
    ],
)
def test_a_bad_head_is_caught(test, forward, says):
    suite, head, loaded, vectors = head_tests(forward)
    with pytest.raises(AssertionError, match=says):
        getattr(suite, f"test_{test}")(head.build(8, loaded), vectors)


def test_a_head_that_gives_another_size_or_dtype_is_caught():
    for methods, says in (({"out_size": lambda self, size: 4}, "out_size says 4"), ({}, "what it made of them")):
        suite, head, loaded, vectors = head_tests(lambda layer, vectors: layer(vectors.float()), **methods)
        with pytest.raises(AssertionError, match=says):
            suite.test_gives_vectors_of_the_declared_size(head, head.build(8, loaded), vectors)


def test_a_head_that_owns_the_backbone_or_forgets_its_weights_is_caught(tmp_path):
    import torch

    suite, head, loaded, vectors = head_tests(None, build=lambda self, size, loaded: loaded.model)
    with pytest.raises(AssertionError, match="weight, bias"):
        suite.test_the_backbone_keeps_its_weights(head, loaded)
    chance = torch.Generator().manual_seed(0)
    suite, head, loaded, vectors = head_tests(lambda layer, x: layer(x))
    build = head.build

    def forgetful(size, loaded):
        made = build(size, loaded)
        made.bias.data.normal_(generator=chance)
        made.register_buffer("offset", torch.rand(size), persistent=False)
        forward = made.forward
        made.forward = lambda x: forward(x) + made.offset
        return made

    head.build = forgetful
    with pytest.raises(AssertionError, match="other weights: bias"):
        suite.test_weights_start_from_the_random_state(head, loaded)
    with pytest.raises(AssertionError, match="saved and loaded"):
        suite.test_weights_are_saved_and_loaded(head, loaded, vectors, tmp_path)


def test_the_suite_cannot_be_weakened_quietly():
    class Weakened(LossConformance):
        def test_is_finite(self):
            pass

    class Honest(LossConformance):
        @pytest.mark.xfail(reason="log of a negative number at scale 1000")
        def test_is_finite(self):
            pass

    with pytest.raises(AssertionError, match="test_is_finite"):
        Weakened().test_no_test_of_the_suite_is_weakened()
    Honest().test_no_test_of_the_suite_is_weakened()


def test_a_declaration_that_imports_torch_is_caught(fake_dist):
    fake_dist("acme", {}, {"acme_heavy": "import torch"})
    heavy = type("Heavy", (Loss,), {"__module__": "acme_heavy"})
    with pytest.raises(AssertionError, match=r"importing acme_heavy imports .*torch"):
        ComponentConformance().test_import_stays_light(heavy)


def test_random_inputs_answer_the_needs_and_nothing_else():
    positives = Likelihood("query", "document", pairs="positives")
    batch = random_loss_inputs((Vector("query"), LIKELIHOOD, positives), queries=3, negatives=2)
    assert batch.vector("query").shape == (3, 8)
    assert batch.owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.likelihood(positives).candidate.tolist() == [0, 3, 6]
    assert batch.likelihood(positives).reference is None
    assert len(batch.preferences(LIKELIHOOD).margin) == 6
    with pytest.raises(KeyError):
        batch.vector("document")
    again = random_loss_inputs((Vector("query"), LIKELIHOOD, positives), queries=3, negatives=2)
    assert again.vector("query").equal(batch.vector("query"))


def test_reordering_moves_candidates_with_their_queries():
    import torch

    batch = random_loss_inputs(Good.needs, queries=3, negatives=1)
    moved = reorder_queries(batch, torch.tensor([2, 0, 1]))
    assert moved.vector("query")[0].equal(batch.vector("query")[2])
    assert moved.vector("document")[0].equal(batch.vector("document")[4])
    assert moved.owner.tolist() == [0, 0, 1, 1, 2, 2]
    assert moved.likelihood(LIKELIHOOD).total[0] == batch.likelihood(LIKELIHOOD).total[4]
    assert moved.excluded.nonzero().tolist() == [[1, 4]], "query 0 went to place 1, candidate 2 to place 4"


def test_loss_value_counts_terms_as_the_driver_does():
    import torch

    assert loss_value(torch.tensor([1.0, 3.0])) == 2
    assert loss_value(Terms(torch.tensor([1.0, 3.0]), torch.tensor([1, 7]))) == 0.5
