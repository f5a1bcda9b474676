"""XLM-RoBERTa: RoBERTa in a hundred languages; positions count from the padding token's number + 1.

A text is <s> ... </s>. Multilingual E5, BGE-M3 (8192 positions) and Contriever-like models are built on it.
"""

from ullme_plugins.backbones._hf import Encoder


class XLMRoberta(Encoder):
    """XLM-RoBERTa encoders, BGE-M3 and multilingual E5 among them."""

    model_types = ("xlm-roberta", "xlm-roberta-xl")
