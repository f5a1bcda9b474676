"""Random batches for losses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ullme.loss_inputs import LogProbs, LossInputs
from ullme.types import Likelihood, Request, Vector

if TYPE_CHECKING:
    from torch import Tensor


def random_loss_inputs(
    needs: Iterable[Request], queries: int = 4, negatives: int = 2, seed: int = 0, scale: float = 1.0
) -> LossInputs:
    """A batch that answers exactly `needs`: every query has one positive and `negatives` of its own.

    Vectors have 8 dimensions; `scale` multiplies them and the log-probabilities. What a loss may send gradient to is a
    leaf that requires it. One candidate of the second query is excluded for the first.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(queries).repeat_interleave(1 + negatives)
    relevance = torch.tensor([1.0] + [0.0] * negatives).repeat(queries)
    excluded = torch.zeros(queries, len(owner), dtype=torch.bool)
    if queries > 1:
        excluded[0, 1 + negatives] = True
    vectors: dict[Vector, Tensor] = {}
    likelihoods: dict[Likelihood, LogProbs] = {}
    for need in needs:
        if isinstance(need, Vector):
            rows = {"query": queries, "document": len(owner)}[need.role]
            vectors[need] = (torch.randn(rows, 8, generator=generator) * scale).requires_grad_()
        else:
            candidate = torch.arange(len(owner)) if need.pairs == "own" else relevance.nonzero().squeeze(1)
            tokens = torch.randint(2, 9, candidate.shape, generator=generator)
            total, reference = (-torch.rand(2, len(tokens), generator=generator) - 0.5) * tokens * scale
            likelihoods[need] = LogProbs(
                total.requires_grad_(), tokens, candidate, reference if need.reference else None
            )
    return LossInputs(vectors, likelihoods, owner, relevance, excluded)


def reorder_queries(batch: LossInputs, order: Tensor) -> LossInputs:
    """The same batch with its queries in another order, their candidates moving along; `order` [B] is a permutation."""
    place = order.argsort()  # the new place of each old query
    owner = place[batch.owner]
    candidates = owner.argsort(stable=True)
    moved = candidates.argsort()  # the new place of each old candidate

    def sort(scores: LogProbs) -> LogProbs:
        renamed = replace(scores, candidate=moved[scores.candidate])
        return renamed.rows(renamed.candidate.argsort())

    return LossInputs(
        {need: rows[order if need.role == "query" else candidates] for need, rows in batch.vectors.items()},
        {need: sort(scores) for need, scores in batch.likelihoods.items()},
        owner[candidates],
        batch.relevance[candidates],
        batch.excluded[order][:, candidates],
    )
