"""GPT-2 and GPT-SW3: learned positions up to 1024.

Texts end with <|endoftext|>; no token starts them. The linear layers are transposed (`Conv1D`), which LoRA knows.
"""

from ullme_plugins.backbones._hf import Decoder


class GPT2(Decoder):
    """GPT-2, DistilGPT-2 and GPT-SW3."""

    model_types = ("gpt2", "gpt-sw3")
