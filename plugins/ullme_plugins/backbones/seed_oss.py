"""Seed-OSS: Llama's layout with biases on the projections and half a million tokens of context."""

from ullme_plugins.backbones._hf import Decoder


class SeedOss(Decoder):
    """Seed-OSS 36B."""

    model_types = ("seed_oss",)
