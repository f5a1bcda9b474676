"""Granite 3: embeddings, residuals, attention and logits each with a multiplier of their own.

Granite 4 with Mamba layers (`granitemoehybrid`) is another family: see `auto`.
"""

from typing import Any

from ullme_plugins.backbones import _logits
from ullme_plugins.backbones._hf import Decoder


class Granite(Decoder):
    """Granite 3 and its models with experts."""

    model_types = ("granite", "granitemoe", "granitemoeshared")

    def logits(self, config: Any) -> "_logits.Logits | None":
        """Divided by `logits_scaling`."""
        return _logits.over(config.logits_scaling)
