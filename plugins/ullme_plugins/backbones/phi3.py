"""Phi 3 to 4: fused projections (`qkv_proj`, `gate_up_proj`), a window in the mini models.

Turns are <|user|> ... <|end|>. LoRA weights trained on split projections of other code do not fit the fused ones.
"""

from ullme_plugins.backbones._hf import Decoder


class Phi3(Decoder):
    """Phi-3, Phi-3.5-mini and Phi-4."""

    model_types = ("phi3",)
