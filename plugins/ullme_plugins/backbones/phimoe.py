"""Phi 3.5 with sixteen experts.

LoRA leaves out the router; the experts of a layer are tensors, no linear layers.
"""

from ullme_plugins.backbones._hf import Decoder


class PhiMoe(Decoder):
    """Phi-3.5-MoE and Phi-tiny-MoE."""

    model_types = ("phimoe",)
