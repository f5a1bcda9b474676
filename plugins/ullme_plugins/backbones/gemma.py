"""Gemma 1: input embeddings scaled by the root of the hidden size, head of 256, plain logits.

A text starts with <bos>, without which the model is at a loss; turns are <start_of_turn>role ... <end_of_turn>.
"""

from ullme_plugins.backbones._hf import Decoder


class Gemma(Decoder):
    """Gemma 1 (2B, 7B)."""

    model_types = ("gemma",)
