"""Tokenised texts, padding, and the plan of model calls: length-sorted chunks under a token budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One text as the model sees it: token ids, which of them are pooled, which carry a likelihood."""

    ids: tuple[int, ...]
    pool: tuple[bool, ...]
    target: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Padded:
    """A right-padded batch: `ids`, `mask`, `pool`, `target`, each [n, T]. The mask alone says what is padding."""

    ids: Tensor
    mask: Tensor
    pool: Tensor
    target: Tensor


def pad(texts: Sequence[Tokens], device: torch.device | None = None) -> Padded:
    """Right-pad to the longest text. The filler id is 0 and never seen: some tokenizers pad with their end token."""
    width = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask, pool, target = (torch.zeros(len(texts), width, dtype=torch.bool) for _ in range(3))
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text.ids)
        mask[row, : len(text)] = True
        pool[row, : len(text)] = torch.tensor(text.pool)
        target[row, : len(text)] = torch.tensor(text.target)
    return Padded(*(tensor.to(device) for tensor in (ids, mask.long(), pool, target)))


def chunks(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in length-sorted groups whose padded size (rows x longest) stays within `budget` tokens.

    A text longer than the budget is a group of its own. The longest come first, so that memory peaks at once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    plan: list[list[int]] = []
    for index in order:
        if plan and (len(plan[-1]) + 1) * lengths[plan[-1][0]] <= budget:
            plan[-1].append(index)
        else:
            plan.append([index])
    return plan
