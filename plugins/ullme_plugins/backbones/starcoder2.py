"""StarCoder 2: a window of 4096 tokens in every layer, biases throughout.

A bidirectional token sees the window on both sides.
"""

from ullme_plugins.backbones._hf import Decoder


class Starcoder2(Decoder):
    """StarCoder2 (3B, 7B, 15B)."""

    model_types = ("starcoder2",)
