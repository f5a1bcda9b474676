"""Mean over several layers and over tokens: intermediate layers hold what the last one has given up."""

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ullme import ComponentConfig, Pooler
from ullme_plugins.poolers._masked import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class MeanLayers(Pooler):
    """Mean of the last n layers' states, then over the tokens (arXiv:2011.05864).

    Only the last hidden state has gone through the model's final norm: where the others are much larger, as in most
    decoders, they outweigh it.
    """

    class Config(ComponentConfig):
        n: int | None = Field(None, gt=0, description="last hidden states averaged; default: 4")
        layers: list[int] = Field(
            [], description="instead of `n`, hidden states by number: [1, -1] is first and last; 0 is the embeddings"
        )

        @model_validator(mode="after")
        def _one_way(self) -> "MeanLayers.Config":
            if self.n is not None and self.layers:
                raise ValueError("give either `n` or `layers`: both choose the layers")
            if len(set(self.layers)) < len(self.layers):
                raise ValueError(f"a layer is listed twice: {self.layers}")
            return self

    @property
    def layers(self) -> tuple[int, ...]:  # type: ignore[override]
        """Numbers of the hidden states that are averaged."""
        return tuple(self.config.layers) or tuple(range(-(self.config.n or 4), 0))

    def __call__(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
        """sum_t mask_t h_t / sum_t mask_t, h the mean of the layers: [B, T, d] and [B, T] to [B, d]."""
        return weighted_mean(hidden, mask.bool())
