"""What the poolers share: sums over marked tokens that read nothing else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def masked_sum(hidden: "Tensor", weights: "Tensor") -> "Tensor":
    """sum_t w_t h_t for `hidden` [B, T, d] and `weights` [B, T], in fp32 at least: [B, d].

    A token of weight 0 is not read: not even NaN, which attention may leave where everything is masked, gets through.
    """
    import torch

    dtype = torch.promote_types(hidden.dtype, torch.float32)
    weights = weights.to(dtype).unsqueeze(-1)
    return (hidden.masked_fill(weights == 0, 0) * weights).sum(1)


def weighted_mean(hidden: "Tensor", weights: "Tensor") -> "Tensor":
    """sum_t w_t h_t / sum_t w_t in the dtype of `hidden`; 0 for a row whose weights are all 0."""
    total = masked_sum(hidden, weights)
    whole = weights.to(total.dtype).sum(1, keepdim=True)
    return (total / whole.masked_fill(whole == 0, 1)).to(hidden.dtype)
