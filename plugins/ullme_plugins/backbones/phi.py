"""Phi 1 to 2: parallel residual blocks, rotary position on a part of each head, a head with bias.

Base models without chat format; texts end with <|endoftext|>, and no token starts them.
"""

from ullme_plugins.backbones._hf import Decoder


class Phi(Decoder):
    """Phi-1, Phi-1.5 and Phi-2."""

    model_types = ("phi",)
