"""Batches: which rows a step sees, and how rows become queries, candidates and the relations between them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ullme.data.groups import same_text
from ullme.errors import DataError
from ullme.types import Example


@dataclass(frozen=True)
class Batch:
    """B queries and C candidates, flat. `owner`, `relevance` [C] and `excluded` [B, C] are as in `LossInputs`."""

    examples: Sequence[Example]
    candidates: Sequence[str]
    owner: Tensor
    relevance: Tensor
    excluded: Tensor

    @property
    def queries(self) -> list[str]:
        """The query texts [B]."""
        return [example.query for example in self.examples]

    @property
    def ids(self) -> str:
        """The rows, for a message."""
        names = [example.id for example in self.examples]
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def make_batch(examples: Sequence[Example]) -> Batch:
    """Flatten rows; a candidate that is, or is grouped with, a query's positive is excluded from its negatives."""
    candidates: list[str] = []
    owner: list[int] = []
    relevance: list[float] = []
    belongs: list[str | None] = []  # the group of a candidate; a negative's is unknown, its text decides
    for index, example in enumerate(examples):
        for text, value in [*((p, 1.0) for p in example.positives), *((n, 0.0) for n in example.negatives)]:
            candidates.append(text)
            owner.append(index)
            relevance.append(value)
            belongs.append(example.group if value else None)
    excluded = torch.zeros(len(examples), len(candidates), dtype=torch.bool)
    keys = [same_text(text) for text in candidates]
    for row, example in enumerate(examples):
        positives = {same_text(text) for text in example.positives}
        for column, text in enumerate(keys):
            if owner[column] != row:
                grouped = bool(example.group) and belongs[column] == example.group
                excluded[row, column] = grouped or text in positives
    return Batch(examples, candidates, torch.tensor(owner), torch.tensor(relevance), excluded)


class BatchPlan:
    """The rows of step s, as a pure function of (seed, s): resuming needs the step number and nothing else.

    Each epoch is a permutation of its own; rows that do not fill a last batch wait for the next epoch.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        if rows < batch_size:
            raise DataError(
                f"batch_size is {batch_size} but the data has only {rows} rows: give more data or a smaller batch"
            )
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, step: int) -> list[int]:
        """Row numbers of the batch of `step`, counted from 0."""
        epoch, position = divmod(step, self.rows // self.batch_size)
        order = list(range(self.rows))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return order[position * self.batch_size : (position + 1) * self.batch_size]
