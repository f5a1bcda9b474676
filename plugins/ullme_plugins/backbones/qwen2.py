"""Qwen 2 and 2.5.

Turns are <|im_start|>role ... <|im_end|>; texts end with <|endoftext|>, which also pads. No token starts a text.
"""

from ullme_plugins.backbones._hf import Decoder


class Qwen2(Decoder):
    """Qwen2 and Qwen2.5; gte-Qwen2 is built on it."""

    model_types = ("qwen2",)
