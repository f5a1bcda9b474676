"""State of the first token, where encoders such as BERT put the whole text."""

from typing import TYPE_CHECKING

from ullme import Pooler

if TYPE_CHECKING:
    from torch import Tensor


class FirstToken(Pooler):
    """State of the first pooled token ([CLS] in BERT)."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """h_t at the smallest t with mask_t = 1: [B, T, d] and [B, T] to [B, d]; 0 for a row without any."""
        import torch

        marked = mask.bool()
        rows = torch.arange(len(mask), device=mask.device)
        first = marked.int().argmax(1)
        return hidden[rows, first].masked_fill(~marked.any(1, keepdim=True), 0)
