"""SantaCoder and StarCoder 1: one key and value head for all queries, learned positions."""

from ullme_plugins.backbones._hf import Decoder


class GPTBigCode(Decoder):
    """SantaCoder and StarCoder 1."""

    model_types = ("gpt_bigcode",)
