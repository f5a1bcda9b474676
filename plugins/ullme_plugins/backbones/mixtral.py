"""Mixtral: Mistral with eight experts a layer, two of them for each token.

The experts of a layer are two tensors, no linear layers: LoRA adapts the attention alone.
"""

from ullme_plugins.backbones._hf import Decoder


class Mixtral(Decoder):
    """Mixtral 8x7B and 8x22B."""

    model_types = ("mixtral",)
