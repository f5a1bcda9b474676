"""The Llama family: Llama 1 to 3, SmolLM, TinyLlama and others of the same architecture."""

from ullme_plugins.backbones._hf import Decoder


class Llama(Decoder):
    """Llama 1-3, SmolLM and other models of type `llama`."""

    model_types = ("llama",)
