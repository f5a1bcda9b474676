"""Qwen 3 with experts and no shared one.

The experts of a layer are two tensors, no linear layers: LoRA adapts the attention alone.
"""

from ullme_plugins.backbones._hf import Decoder


class Qwen3Moe(Decoder):
    """Qwen3-30B-A3B and Qwen3-235B-A22B."""

    model_types = ("qwen3_moe",)
