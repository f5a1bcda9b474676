"""The encoder's own pooling layer, which it was pretrained with and SimCSE trains on."""

from typing import TYPE_CHECKING

from ullme import ConfigError, Head

if TYPE_CHECKING:
    from torch import nn

    from ullme import LoadedBackbone


class PoolerMLP(Head):
    """tanh(W v + b) with the encoder's own pooling layer (SimCSE, arXiv:2104.08821).

    It belongs behind the pooler `cls`, and the backbone must load that layer: `backbone: {pooling_layer: true}`.
    Supervised SimCSE uses it always, unsupervised SimCSE in training only. Its weights stay the backbone's, an adapter
    on them included.
    """

    def build(self, size: int, loaded: "LoadedBackbone") -> "nn.Module":
        """A module that calls the model's `pooler`. Raises ConfigError if the model has none."""
        from torch import nn

        from ullme_plugins.heads._modules import OwnPooler

        layer = getattr(loaded.model, "pooler", None)
        if not isinstance(layer, nn.Module) or not isinstance(getattr(layer, "dense", None), nn.Module):
            raise ConfigError(
                f"pooler-mlp: {type(loaded.model).__name__} was loaded without a pooling layer of its own.\n"
                "  An encoder that has one loads it with `backbone: {pooling_layer: true}`; otherwise use another head."
            )
        if size != loaded.hidden_size:
            raise ConfigError(
                f"pooler-mlp: the model's pooling layer takes vectors of {loaded.hidden_size}, found {size}"
            )
        return OwnPooler(loaded.model)
