"""mGTE: an encoder with rotary position, 8192 tokens, in seventy languages.

Read as transformers has it (model type `gte`, the `alibaba-nlp-community` copies). The first publication (type `new`)
comes with code of its own; this backbone runs none and refuses it. The first token is pooled.
"""

from ullme_plugins.backbones._hf import Encoder


class Gte(Encoder):
    """gte-multilingual-base and GTE v1.5 in the form that transformers reads."""

    model_types = ("gte",)
