"""BERT and the sentence encoders built on it."""

from ullme_plugins.backbones._hf import Encoder


class Bert(Encoder):
    """BERT encoders, all-MiniLM-L6-v2 among them."""

    model_types = ("bert",)
    extra = {"add_pooling_layer": False}  # noqa: RUF012  (its weights would stand in every count, used by nothing)
