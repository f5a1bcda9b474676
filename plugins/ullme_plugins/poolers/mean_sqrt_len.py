"""Sum of the token states over the root of their number: between a sum and a mean."""

from typing import TYPE_CHECKING

from ullme import Pooler
from ullme_plugins.poolers._masked import masked_sum

if TYPE_CHECKING:
    from torch import Tensor


class MeanSqrtLength(Pooler):
    """Sum of the token states, divided by the root of their number (arXiv:1803.11175).

    Longer texts give longer vectors; once vectors are normalised it is the mean.
    """

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """sum_t mask_t h_t / sqrt(sum_t mask_t): [B, T, d] and [B, T] to [B, d]; 0 for a row without any."""
        marked = mask.bool()
        return (masked_sum(hidden, marked) / marked.sum(1, keepdim=True).clamp(min=1).sqrt()).to(hidden.dtype)
