"""Persimmon: squared ReLU, normalised queries and keys, one fused projection per head."""

from ullme_plugins.backbones._hf import Decoder


class Persimmon(Decoder):
    """Persimmon 8B."""

    model_types = ("persimmon",)
