"""SmolLM 3: Llama with no rotary position in every fourth layer.

SmolLM 1 and 2 are models of type `llama`.
"""

from ullme_plugins.backbones._hf import Decoder


class SmolLM3(Decoder):
    """SmolLM3 (3B)."""

    model_types = ("smollm3",)
