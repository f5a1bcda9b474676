"""A projection of two layers between the vector and the loss."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import Head

if TYPE_CHECKING:
    from torch import nn

    from ullme import LoadedBackbone


class MLP(Head):
    """W2 activation(W1 v + b1) + b2: a projection of two layers (SimCLR, arXiv:2002.05709).

    With `use_in: training`, as in SimCLR and the original ULLME (Linear, ReLU, Linear of one size), the loss sees the
    projected vector and users the one before it; with `always` they see the same.
    """

    class Config(Head.Config):
        hidden_size: int | None = Field(None, gt=0, description="length between the layers; default: that of a vector")
        out_features: int | None = Field(None, gt=0, description="length of the new vector; default: unchanged")
        activation: Literal["identity", "tanh", "relu", "gelu"] = "relu"
        bias: bool = Field(True, description="whether there are b1 and b2")

    def out_size(self, size: int) -> int:
        """`out_features`, or the size as it is."""
        return self.config.out_features or size

    def build(self, size: int, loaded: "LoadedBackbone") -> "nn.Module":
        """A module drawn from torch's random state: it must be trained."""
        from ullme_plugins.heads._modules import TwoLayers

        config = self.config
        return TwoLayers(size, config.hidden_size or size, self.out_size(size), config.bias, config.activation)
