"""GPT-Neo: learned positions, windows of 256 tokens in every other layer; SGPT's small models are built on it.

Each attention holds a causal mask of its own, which no mask from outside can lift. It is replaced at load: by all ones
in full layers, by the window in local ones. The causal mask that the model is given anyway then decides alone.
"""

from typing import Any

from ullme_plugins.backbones._hf import Decoder


class GPTNeo(Decoder):
    """GPT-Neo (125M, 1.3B, 2.7B)."""

    model_types = ("gpt_neo",)
    flash = False  # eager alone: the masks inside are no part of the flash path

    def prepare(self, body: Any) -> None:
        """Lift the masks inside the layers. Causal results are bit-equal on every token that is not padding."""
        import torch

        for block in body.h:
            attention = block.attn.attention
            size = attention.bias.shape[-1]
            place = torch.arange(size, device=attention.bias.device)
            near = (place[:, None] - place).abs() < body.config.window_size
            free = near if attention.attention_type == "local" else torch.ones_like(near)
            attention.bias = free.view(1, 1, size, size)
