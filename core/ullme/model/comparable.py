"""Vectors as they are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def comparable(vectors: Any, similarity: str) -> Tensor:
    """Vectors [n, d] (or one, [d]) whose products are similarities, [n, d]: of length 1 unless it is `dot`."""
    rows = torch.as_tensor(vectors)
    rows = rows[None] if rows.ndim == 1 else rows
    return rows if similarity == "dot" else nn.functional.normalize(rows, dim=-1)
