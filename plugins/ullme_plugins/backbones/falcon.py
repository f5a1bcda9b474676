"""Falcon: parallel residual blocks, few key and value heads; rotary position, or linear biases (ALiBi) in RW models.

With biases, looking ahead needs them made symmetric (see `_alibi.py`), for which its eager attention has no room: SDPA
alone. Its flash path does not go through the kernels that ullme instructs: refused there.
"""

from typing import Any

from ullme_plugins.backbones import _alibi
from ullme_plugins.backbones._hf import Decoder


class Falcon(Decoder):
    """Falcon (1B, 7B, 40B, 180B, RW) and Falcon 2."""

    model_types = ("falcon",)
    flash = False

    def refusal(self, body: Any) -> str | None:
        """Biases in eager attention."""
        if body.config.alibi and body.config._attn_implementation != "sdpa":
            return (
                "its linear biases (ALiBi) can be made symmetric under SDPA alone.\n"
                "  Use `attn_implementation: sdpa`, or `attention: causal`."
            )
        return None

    def symmetric_bias(self, body: Any) -> "_alibi.SymmetricBias | None":
        """-slope * |q - k| while a call looks ahead."""
        return (lambda active: _alibi.falcon(body, active)) if body.config.alibi else None
