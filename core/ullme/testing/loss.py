"""Conformance of losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.interfaces import Component, Loss
from ullme.loss_inputs import LossInputs, Terms
from ullme.testing.component import ComponentConformance
from ullme.testing.inputs import random_loss_inputs, reorder_queries

if TYPE_CHECKING:
    from torch import Tensor


def loss_value(output: Tensor | Terms) -> Tensor:
    """The scalar that the driver makes of a loss's terms on one batch."""
    terms = output if isinstance(output, Terms) else Terms(output)
    count = terms.values.numel() if terms.counts is None else terms.counts.sum()
    return terms.values.sum() / count


def leaves(batch: LossInputs) -> dict[Any, Tensor]:
    """The tensors of a batch that a loss sends gradient to, by request."""
    return {**batch.vectors, **{need: scores.total for need, scores in batch.likelihoods.items()}}


class LossConformance(ComponentConformance):
    """A pure, differentiable function of exactly what it declares to need."""

    kind: ClassVar[str] = "loss"

    @pytest.fixture
    def batch(self, component: Loss) -> LossInputs:
        """Four queries with one positive and two negatives each, holding what the loss declares and nothing else."""
        assert component.needs, "declare `needs`: what the driver must compute"
        return random_loss_inputs(component.needs)

    def test_terms_are_one_dimensional(self, component: Loss, batch: LossInputs) -> None:
        """One term per item: the driver divides by the global count, which a mean over the batch would spoil."""
        output = component.build()(batch)
        terms = output if isinstance(output, Terms) else Terms(output)
        assert terms.values.ndim == 1, f"expected terms [n], found shape {list(terms.values.shape)}"
        assert terms.counts is None or terms.counts.shape == terms.values.shape

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_is_finite(self, component: Loss, scale: float) -> None:
        """Value and gradients are finite, also where vectors and log-probabilities are extreme."""
        batch = random_loss_inputs(component.needs, scale=scale)
        value = loss_value(component.build()(batch))
        value.backward()  # type: ignore[no-untyped-call]
        assert value.isfinite()
        for need, leaf in leaves(batch).items():
            assert leaf.grad is None or leaf.grad.isfinite().all(), f"gradient of {need} is not finite"

    def test_gradient_reaches_every_need(self, component: Loss, batch: LossInputs) -> None:
        """What is declared costs forward passes: it must be used."""
        loss_value(component.build()(batch)).backward()  # type: ignore[no-untyped-call]
        unused = [str(need) for need, leaf in leaves(batch).items() if leaf.grad is None or not leaf.grad.any()]
        assert not unused, f"declared but without gradient: {', '.join(unused)}"

    def test_parameters_of_its_own_learn(self, component: Loss, batch: LossInputs) -> None:
        """A module with parameters gets gradient into each of them."""
        function = component.build()
        loss_value(function(batch)).backward()  # type: ignore[no-untyped-call]
        parameters = function.named_parameters() if hasattr(function, "named_parameters") else ()
        unused = [name for name, parameter in parameters if parameter.grad is None]
        assert not unused, f"parameters without gradient: {', '.join(unused)}"

    def test_reference_matters_where_it_is_declared(self, component: Loss, batch: LossInputs) -> None:
        """Reference likelihoods cost a second forward: they must be used."""
        before = loss_value(component.build()(batch)).detach()
        for need, scores in batch.likelihoods.items():
            if scores.reference is not None:
                scores.reference[::3] -= 1.0  # another amount for positives than for negatives
                after = loss_value(component.build()(batch)).detach()
                assert not after.isclose(before), f"{need} asks for a reference that has no influence"

    def test_order_of_queries_does_not_matter(self, component: Loss, batch: LossInputs) -> None:
        """Batches are sorted by length on the way to the model."""
        import torch

        other = reorder_queries(batch, torch.tensor([2, 0, 3, 1]))
        torch.testing.assert_close(loss_value(component.build()(other)), loss_value(component.build()(batch)))

    def test_inputs_are_left_alone(self, component: Loss, batch: LossInputs) -> None:
        """Other losses read the same tensors; the same inputs give the same value again."""
        import torch

        tensors = [batch.owner, batch.relevance, batch.excluded, *leaves(batch).values()]
        before = [tensor.detach().clone() for tensor in tensors]
        function = component.build()
        first, second = loss_value(function(batch)), loss_value(function(batch))
        assert first == second, "two calls on the same inputs differ"
        assert all(torch.equal(was, now) for was, now in zip(before, tensors, strict=True)), "an input was changed"

    def test_weight_is_left_to_the_driver(
        self, cls: type[Component], settings: dict[str, Any], batch: LossInputs
    ) -> None:
        """`weight` is accepted and does not change the terms, otherwise it would count twice."""
        values = []
        for weight in (1.0, 0.25):
            loss: Any = cls(cls.Config.model_validate({**settings, "weight": weight}))
            values.append(loss_value(loss.build()(batch)).item())
        assert values[0] == values[1], "the driver applies `weight`, not the loss"

    def test_a_single_query_is_enough(self, component: Loss) -> None:
        """The last batch of an epoch may hold one query."""
        assert loss_value(component.build()(random_loss_inputs(component.needs, queries=1))).isfinite()

    def test_negatives_are_needed_only_where_declared(self, component: Loss) -> None:
        """Without `needs_negatives` the loss must be defined on queries that bring none."""
        if not component.needs_negatives:
            batch = random_loss_inputs(component.needs, negatives=0)
            assert loss_value(component.build()(batch)).isfinite(), "declare needs_negatives = True"
