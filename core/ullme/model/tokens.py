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
    return Padded(*(moved(tensor, device) for tensor in (ids, mask.long(), pool, target)))


def moved(tensor: Tensor, device: torch.device | None) -> Tensor:
    """`tensor` on `device`; nobody waits for the copy to a GPU, which pinned memory makes possible."""
    if device is not None and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Packed:
    """Rows that several texts share: `ids`, `mask`, `pool`, `target`, `positions` and `document`, each [R, W].

    `document` numbers the texts from 1 (0 is padding), `positions` count from 0 in each. `index` [n, T] says where the
    tokens of text i stand in the flattened rows, padding repeating its first.
    """

    ids: Tensor
    mask: Tensor
    pool: Tensor
    target: Tensor
    positions: Tensor
    document: Tensor
    index: Tensor


def pack(texts: Sequence[Tokens], width: int, device: torch.device | None = None) -> Packed:
    """Put texts one behind the other into rows of at most `width` tokens, the longest first, each where it fits.

    A text longer than `width` has a row of its own.
    """
    width = max(width, *map(len, texts))
    room: list[int] = []
    places: dict[int, tuple[int, int]] = {}
    for number in sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i)):
        length = len(texts[number])
        row = next((r for r, left in enumerate(room) if left >= length), len(room))
        if row == len(room):
            room.append(width)
        places[number] = (row, width - room[row])
        room[row] -= length
    width -= min(room)
    fields = {name: torch.zeros(len(room), width, dtype=torch.long) for name in ("ids", "positions", "document")}
    marks = {name: torch.zeros(len(room), width, dtype=torch.bool) for name in ("mask", "pool", "target")}
    index = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for number, text in enumerate(texts):
        row, start = places[number]
        span = slice(start, start + len(text))
        fields["ids"][row, span] = torch.tensor(text.ids)
        fields["positions"][row, span] = torch.arange(len(text))
        fields["document"][row, span] = number + 1
        marks["mask"][row, span] = True
        marks["pool"][row, span] = torch.tensor(text.pool)
        marks["target"][row, span] = torch.tensor(text.target)
        index[number] = row * width + start
        index[number, : len(text)] += torch.arange(len(text))
    moved = {name: tensor.to(device) for name, tensor in (fields | marks).items()}
    return Packed(**moved | {"mask": moved["mask"].long()}, index=index.to(device))


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
