"""What a loss sees: small leaf tensors of one global batch, and the relations between their rows.

Shapes: B queries, C candidates (every query's positives and negatives, flat), P scored pairs, M preferences, d the
vector size. Nothing here holds a model: a loss is a pure function of these tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ullme.types import Likelihood, Vector

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """What a loss returns when each item does not count for one: the driver takes sum(values) / sum(counts).

    `metrics` are plain numbers logged beside the loss, such as an accuracy.
    """

    values: Tensor
    counts: Tensor | None = None
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True)
class LogProbs:
    """Likelihoods of P (query, candidate) pairs: `total` [P] is the sum over target tokens, `tokens` [P] their number.

    `candidate` [P] indexes the batch's candidates; `reference` [P] is `total` under the model before training.
    """

    total: Tensor
    tokens: Tensor
    candidate: Tensor
    reference: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Token-mean log-probability [P]: s_gen of GRL (ULLME, section 3.2.2)."""
        return self.total / self.tokens

    def rows(self, keep: Tensor) -> LogProbs:
        """The rows that the boolean or index tensor `keep` selects."""
        reference = None if self.reference is None else self.reference[keep]
        return LogProbs(self.total[keep], self.tokens[keep], self.candidate[keep], reference)


@dataclass(frozen=True)
class Preferences:
    """M pairs of a query's positive (`chosen`) and one of its own negatives (`rejected`); `query` [M] is whose."""

    chosen: LogProbs
    rejected: LogProbs
    query: Tensor

    @property
    def margin(self) -> Tensor:
        """Log-ratio margin [M]: log p/p_ref of chosen minus that of rejected; the reference counts 0 if absent."""
        margin = self.chosen.total - self.rejected.total
        if self.chosen.reference is not None and self.rejected.reference is not None:
            margin = margin - (self.chosen.reference - self.rejected.reference)
        return margin


@dataclass(frozen=True)
class LossInputs:
    """One global batch. `owner` [C]: the query of each candidate. `relevance` [C]: above 0 for a positive, else 0.

    `excluded` [B, C] marks candidates of other queries that must not serve as negatives of a query, because they are,
    or belong with, one of its positives.
    """

    vectors: Mapping[Vector, Tensor]
    likelihoods: Mapping[Likelihood, LogProbs]
    owner: Tensor
    relevance: Tensor
    excluded: Tensor

    def vector(self, role: str, view: int = 0, layer: int = -1) -> Tensor:
        """Vectors of a role: [B, d] for `query`, [C, d] for `document`."""
        return self.vectors[Vector(role, view, layer)]

    def likelihood(self, request: Likelihood) -> LogProbs:
        """Likelihoods answering `request`, in candidate order."""
        return self.likelihoods[request]

    @property
    def positive(self) -> Tensor:
        """Which candidates are positives, bool [C]."""
        return self.relevance > 0

    @property
    def own(self) -> Tensor:
        """Which candidates are a query's own, bool [B, C]."""
        import torch

        queries = torch.arange(self.excluded.shape[0], device=self.owner.device)
        return self.owner[None, :] == queries[:, None]

    def preferences(self, request: Likelihood) -> Preferences:
        """Every (positive, negative) pair among each query's own scored candidates."""
        scores = self.likelihood(request)
        owner, positive = self.owner[scores.candidate], self.positive[scores.candidate]
        same = owner[:, None] == owner[None, :]
        chosen, rejected = (same & positive[:, None] & ~positive[None, :]).nonzero(as_tuple=True)
        return Preferences(scores.rows(chosen), scores.rows(rejected), owner[chosen])
