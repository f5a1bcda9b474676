"""Hunyuan: queries and keys normalised after the rotary position; with and without experts."""

from ullme_plugins.backbones._hf import Decoder


class HunYuan(Decoder):
    """Hunyuan dense and A13B."""

    model_types = ("hunyuan_v1_dense", "hunyuan_v1_moe")
