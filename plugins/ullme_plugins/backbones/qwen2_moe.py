"""Qwen 1.5 and 2 with experts, a shared one among them.

The experts of a layer are two tensors: LoRA adapts attention and the shared expert, not its gate.
"""

from ullme_plugins.backbones._hf import Decoder


class Qwen2Moe(Decoder):
    """Qwen1.5-MoE and Qwen2-57B-A14B."""

    model_types = ("qwen2_moe",)
