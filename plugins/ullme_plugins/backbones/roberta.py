"""RoBERTa: BERT with byte-level tokens; positions count from the padding token's number + 1.

A text is <s> ... </s>. Supervised SimCSE is built on it.
"""

from ullme_plugins.backbones._hf import Encoder


class Roberta(Encoder):
    """RoBERTa encoders, SimCSE among them."""

    model_types = ("roberta",)
