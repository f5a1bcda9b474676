"""ModernBERT: rotary position, windows of 128 tokens in two of three layers, 8192 tokens.

Its windows are symmetric from the start. A text is [CLS] ... [SEP].
"""

from ullme_plugins.backbones._hf import Encoder


class ModernBert(Encoder):
    """ModernBERT encoders."""

    model_types = ("modernbert",)
