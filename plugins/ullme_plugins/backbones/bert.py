"""BERT and the sentence encoders built on it.

A text is [CLS] ... [SEP]. Contriever, GTE, BGE-en, E5 and all-MiniLM are models of this type.
"""

from ullme_plugins.backbones._hf import Encoder


class Bert(Encoder):
    """BERT encoders, all-MiniLM-L6-v2 among them."""

    model_types = ("bert",)
