"""Nemotron and Minitron: squared ReLU, LayerNorm around one, rotary position on half of each head.

Its layers drop what the attention is told (`is_causal`), so flash kernels would stay causal: refused there.
"""

from ullme_plugins.backbones._hf import Decoder


class Nemotron(Decoder):
    """Nemotron-4 and Minitron."""

    model_types = ("nemotron",)
    flash = False
