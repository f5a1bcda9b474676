"""Mean of the token states that the mask marks."""

from typing import TYPE_CHECKING

from ullme import Pooler

if TYPE_CHECKING:
    from torch import Tensor


class Mean(Pooler):
    """Mean of the token states."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """sum_t mask_t h_t / sum_t mask_t: [B, T, d] and [B, T] to [B, d]."""
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
