"""OLMo 1: LayerNorm without weights, projections clipped in the 7B model."""

from ullme_plugins.backbones._hf import Decoder


class Olmo(Decoder):
    """OLMo 1 (1B, 7B)."""

    model_types = ("olmo",)
