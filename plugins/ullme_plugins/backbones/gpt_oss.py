"""gpt-oss: attention with sinks, windows of 128 tokens in every other layer, experts in four bits.

The sinks are beyond SDPA: eager (the default) or flex_attention. The experts are tensors, no linear layers: LoRA adapts
the attention alone. Prompts follow the harmony format, which the tokenizer's chat template writes.
"""

from ullme_plugins.backbones._hf import Decoder


class GptOss(Decoder):
    """gpt-oss 20B and 120B."""

    model_types = ("gpt_oss",)
