"""BLOOM: attention with linear biases (ALiBi), eager alone; UDEVER and SGPT-BLOOM are built on it.

Looking ahead needs the biases made symmetric: see `_alibi.py`.
"""

from typing import Any

from ullme_plugins.backbones import _alibi
from ullme_plugins.backbones._hf import Decoder


class Bloom(Decoder):
    """BLOOM and BLOOMZ (560M to 176B)."""

    model_types = ("bloom",)

    def longest(self, config: Any) -> int | None:
        """Biases end nowhere; the model was trained on `seq_length` tokens."""
        return getattr(config, "seq_length", None)

    def symmetric_bias(self, body: Any) -> "_alibi.SymmetricBias":
        """-slope * |q - k| while a call looks ahead."""
        return lambda active: _alibi.bloom(body, active)
