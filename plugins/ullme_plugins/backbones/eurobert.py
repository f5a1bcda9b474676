"""EuroBERT: Llama's layout made an encoder, in fifteen languages, 8192 tokens."""

from ullme_plugins.backbones._hf import Encoder


class EuroBert(Encoder):
    """EuroBERT (210M, 610M, 2.1B)."""

    model_types = ("eurobert",)
