"""The Llama family: Llama 1 to 3, SmolLM, TinyLlama, Vicuna and others of the same architecture.

Llama 3 Instruct frames turns with <|start_header_id|>role<|end_header_id|> and ends them with <|eot_id|>; Llama 2 Chat
with [INST] ... [/INST]. Neither tokenizer has a padding token, and none is needed here.
"""

from ullme_plugins.backbones._hf import Decoder


class Llama(Decoder):
    """Llama 1-3, SmolLM and other models of type `llama`."""

    model_types = ("llama",)
