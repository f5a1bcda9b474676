"""The sum that a step differentiates: weighted losses of one batch, each checked, each logged under its own name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ullme.errors import TrainingError
from ullme.loss_inputs import LossInputs, Terms
from ullme.plugins.blame import blamed
from ullme.types import Request

LossFunction = Callable[[LossInputs], Tensor | Terms]


@dataclass(frozen=True)
class WeightedLoss:
    """A loss of the sum: its name in the log, its factor, what it needs, the function itself, and whose it is."""

    label: str
    weight: float
    needs: tuple[Request, ...]
    function: LossFunction
    who: str = "a loss"


@dataclass
class StepResult:
    """Plain numbers of one step: the weighted sum, each loss unweighted, metrics; tokens without padding; texts, and
    how many of them were cut."""

    loss: float
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    texts: int = 0
    truncated: int = 0


def weighted_sum(losses: Sequence[WeightedLoss], inputs: LossInputs, step: int, rows: str) -> tuple[Tensor, StepResult]:
    """The sum of weight x mean over `losses`, and its numbers.

    Raises TrainingError naming the loss, the step and the rows for one that is not finite or has no terms.
    """
    outcome = StepResult(0.0)
    total = torch.zeros((), device=inputs.owner.device)
    for loss in losses:
        with blamed(loss.who):
            answer = loss.function(inputs)
        terms = answer if isinstance(answer, Terms) else Terms(answer)
        count = len(terms.values) if terms.counts is None else terms.counts.sum()
        value = terms.values.sum() / count if count else terms.values.new_full((), torch.nan)
        if not torch.isfinite(value):
            cause = f"is {float(value.detach())}" if count else "has no terms"
            raise TrainingError(
                f"step {step}: loss {loss.label!r} {cause}; rows {rows}."
                "\n  The weights were not changed and the last checkpoint is valid. Look at these rows, lower the"
                " learning rate, or use a wider precision."
            )
        total = total + loss.weight * value
        outcome.losses[loss.label] = float(value.detach())
        outcome.metrics |= {f"{loss.label}/{name}": float(number) for name, number in terms.metrics.items()}
    outcome.loss = float(total.detach())
    return total, outcome
