"""MPT: attention with linear biases (ALiBi), no biases in the layers, eager alone.

Looking ahead needs the biases made symmetric: see `_alibi.py`.
"""

from typing import Any

from ullme_plugins.backbones import _alibi
from ullme_plugins.backbones._hf import Decoder


class Mpt(Decoder):
    """MPT (7B, 30B)."""

    model_types = ("mpt",)

    def longest(self, config: Any) -> int | None:
        """The model was trained on `max_seq_len` tokens."""
        return config.max_seq_len  # type: ignore[no-any-return]

    def symmetric_bias(self, body: Any) -> "_alibi.SymmetricBias | None":
        """-slope * |q - k| while a call looks ahead."""
        return lambda active: _alibi.mpt(body, active)
