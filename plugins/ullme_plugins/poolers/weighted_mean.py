"""Position-weighted mean: later tokens, which have seen more under causal attention, count more."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import ComponentConfig, Pooler
from ullme_plugins.poolers._masked import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class WeightedMean(Pooler):
    """Mean of the token states weighted by their positions 1, 2, ..., n (SGPT, arXiv:2202.08904).

    The two ways of counting differ where a text has tokens that are not pooled, such as an instruction. Neither counts
    padding; the original counts it where it stands on the left, which is the same thing with padding on the right.
    """

    class Config(ComponentConfig):
        positions: Literal["mask", "absolute"] = Field(
            "mask", description="count the pooled tokens alone, or, as SGPT does, every token of the text"
        )

    @property
    def reads_positions(self) -> bool:  # type: ignore[override]
        """Whether the place among all tokens matters."""
        return self.config.positions == "absolute"  # type: ignore[no-any-return]

    def __call__(self, hidden: "Tensor", mask: "Tensor", positions: "Tensor | None" = None) -> "Tensor":
        """sum_t w_t h_t / sum_t w_t over mask_t = 1, w_t counting from 1: [B, T, d] and [B, T] to [B, d]."""
        marked = mask.bool()
        if not self.reads_positions:
            return weighted_mean(hidden, marked.cumsum(1) * marked)
        if positions is None:
            raise TypeError("`positions: absolute` needs the positions of the tokens, [B, T] from 0")
        return weighted_mean(hidden, (positions + 1) * marked)
