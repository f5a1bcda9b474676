"""Command R: parallel residual blocks, LayerNorm without bias, tied embeddings, logits scaled by 1/16.

Turns are <|START_OF_TURN_TOKEN|> role ... <|END_OF_TURN_TOKEN|>.
"""

from typing import Any

from ullme_plugins.backbones import _logits
from ullme_plugins.backbones._hf import Decoder


class Cohere(Decoder):
    """Command R, Command R+ and Aya 23."""

    model_types = ("cohere",)

    def logits(self, config: Any) -> "_logits.Logits | None":
        """Multiplied by `logit_scale`."""
        return _logits.times(config.logit_scale)
