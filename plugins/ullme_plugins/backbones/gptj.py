"""GPT-J: parallel residual blocks, rotary position on a part of each head; eager attention alone.

SGPT's 5.8B models are built on it. Its flash path does not go through the kernels that ullme instructs: refused there.
"""

from ullme_plugins.backbones._hf import Decoder


class GPTJ(Decoder):
    """GPT-J 6B."""

    model_types = ("gptj",)
    flash = False
