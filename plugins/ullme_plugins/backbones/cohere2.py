"""Command R7B and A: windows with rotary position in three of four layers, no position at all in the fourth."""

from typing import Any

from ullme_plugins.backbones import _logits
from ullme_plugins.backbones._hf import Decoder


class Cohere2(Decoder):
    """Command R7B, Command A and their models with experts."""

    model_types = ("cohere2", "cohere2_moe")

    def logits(self, config: Any) -> "_logits.Logits | None":
        """Multiplied by `logit_scale`."""
        return _logits.times(config.logit_scale)
