"""Largest value of each dimension over the tokens."""

from typing import TYPE_CHECKING

from ullme import Pooler

if TYPE_CHECKING:
    from torch import Tensor


class Max(Pooler):
    """Largest value of each dimension over the token states."""

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """max over t with mask_t = 1 of h_t, per dimension: [B, T, d] and [B, T] to [B, d]; 0 for a row without any.

        Of equal values the first gets the gradient.
        """
        marked = mask.bool()
        largest = hidden.masked_fill(~marked.unsqueeze(-1), float("-inf")).max(1).values
        return largest.masked_fill(~marked.any(1, keepdim=True), 0)
