"""GPT-NeoX and Pythia: parallel residual blocks, rotary position on a part of each head, LayerNorm with bias."""

from ullme_plugins.backbones._hf import Decoder


class GPTNeoX(Decoder):
    """GPT-NeoX and Pythia."""

    model_types = ("gpt_neox",)
