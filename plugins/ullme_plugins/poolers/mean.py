"""Mean of the token states that the mask marks."""

from typing import TYPE_CHECKING

from ullme import Pooler
from ullme_plugins.poolers._masked import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class Mean(Pooler):
    """Mean of the token states."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """sum_t mask_t h_t / sum_t mask_t: [B, T, d] and [B, T] to [B, d]; 0 for a row without any."""
        return weighted_mean(hidden, mask.bool())
