"""ERNIE 4.5: Llama's layout with rotary position interleaved; with and without experts."""

from ullme_plugins.backbones._hf import Decoder


class Ernie45(Decoder):
    """ERNIE 4.5 text models."""

    model_types = ("ernie4_5", "ernie4_5_moe")
