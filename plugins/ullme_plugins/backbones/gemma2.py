"""Gemma 2: windows of 4096 tokens in every other layer, attention scores and logits soft-capped.

Soft-capped scores are beyond SDPA: eager (the default) or flex_attention.
"""

from typing import Any

from ullme_plugins.backbones import _logits
from ullme_plugins.backbones._hf import Decoder


class Gemma2(Decoder):
    """Gemma 2 (2B, 9B, 27B)."""

    model_types = ("gemma2",)

    def logits(self, config: Any) -> "_logits.Logits | None":
        """Soft-capping."""
        return _logits.capped(config.final_logit_softcapping)
