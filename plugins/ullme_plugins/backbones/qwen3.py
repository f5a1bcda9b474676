"""Qwen 3 and Qwen3-Embedding: queries and keys normalised per head.

Turns as in Qwen 2. Qwen3-Embedding is causal and pools the <|endoftext|> that its template appends.
"""

from ullme_plugins.backbones._hf import Decoder


class Qwen3(Decoder):
    """Qwen3 and Qwen3-Embedding."""

    model_types = ("qwen3",)
