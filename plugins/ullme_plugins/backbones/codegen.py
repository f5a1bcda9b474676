"""CodeGen: GPT-J's layout with projections interleaved for four accelerators; eager attention alone."""

from ullme_plugins.backbones._hf import Decoder


class CodeGen(Decoder):
    """CodeGen 1 (350M to 16B)."""

    model_types = ("codegen",)
