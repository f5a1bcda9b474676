"""State of the last token: the only one that has seen the whole text under causal attention."""

from typing import TYPE_CHECKING

from ullme import Pooler

if TYPE_CHECKING:
    from torch import Tensor


class LastToken(Pooler):
    """State of the last pooled token."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """h_t at the largest t with mask_t = 1: [B, T, d] and [B, T] to [B, d]; 0 for a row without any."""
        import torch

        marked = mask.bool()
        places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        last = places.masked_fill(~marked, -1).amax(1)
        rows = torch.arange(len(mask), device=mask.device)
        return hidden[rows, last.clamp(min=0)].masked_fill(~marked.any(1, keepdim=True), 0)
