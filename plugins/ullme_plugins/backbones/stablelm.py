"""StableLM 2 and 3B: LayerNorm, rotary position on a part of each head.

Its layers drop what the attention is told (`is_causal`), so flash kernels would stay causal: refused there.
"""

from ullme_plugins.backbones._hf import Decoder


class StableLm(Decoder):
    """StableLM."""

    model_types = ("stablelm",)
    flash = False
