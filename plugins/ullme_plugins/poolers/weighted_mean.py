"""Position-weighted mean: later tokens, which have seen more under causal attention, count more."""

from typing import TYPE_CHECKING

from ullme import Pooler

if TYPE_CHECKING:
    from torch import Tensor


class WeightedMean(Pooler):
    """Mean of the token states weighted 1, 2, ..., n over the n pooled tokens (SGPT, arXiv:2202.08904)."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """sum_t w_t h_t / sum_t w_t with w_t the rank of token t among the pooled: [B, T, d] and [B, T] to [B, d]."""
        marked = mask.to(hidden.dtype)
        weights = (marked.cumsum(1) * marked).unsqueeze(-1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
