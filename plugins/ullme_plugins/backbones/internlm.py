"""InternLM 3, which transformers builds as a Llama with biases.

InternLM 1 and 2 come with code of their own: `auto` with `trust_remote_code: true` tries them and asks the probe.
"""

from ullme_plugins.backbones._hf import Decoder


class InternLM3(Decoder):
    """InternLM3 (8B)."""

    model_types = ("internlm3",)
