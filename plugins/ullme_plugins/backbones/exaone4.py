"""EXAONE 4: windows in three of four layers, no rotary position in the fourth, normalised after each part."""

from ullme_plugins.backbones._hf import Decoder


class Exaone4(Decoder):
    """EXAONE 4.0 and its model with experts."""

    model_types = ("exaone4", "exaone_moe")
