"""The gradient's norm, bounded and checked."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ullme.errors import TrainingError


def clip_gradient(
    parameters: Iterable[nn.Parameter], limit: float | None, step: int, rows: str, hint: str = ""
) -> float:
    """Scale the gradient to a norm of at most `limit` (None: any) and return the norm that it had.

    Raises TrainingError, naming step and rows, for one that is not finite though the losses are.
    """
    norm = float(nn.utils.clip_grad_norm_(parameters, torch.inf if limit is None else limit))
    if norm != norm or norm == float("inf"):
        raise TrainingError(f"step {step}: the gradient is {norm} though every loss is finite; rows {rows}{hint}")
    return norm
