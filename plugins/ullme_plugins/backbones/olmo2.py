"""OLMo 2 and 3: normalised after attention and feed-forward; OLMo 3 with windows in three of four layers."""

from ullme_plugins.backbones._hf import Decoder


class Olmo2(Decoder):
    """OLMo 2 and OLMo 3."""

    model_types = ("olmo2", "olmo3")
