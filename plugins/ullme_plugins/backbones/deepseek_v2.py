"""DeepSeek V2: latent attention (keys and values from a small vector per token), shared and routed experts."""

from ullme_plugins.backbones._hf import Decoder


class DeepseekV2(Decoder):
    """DeepSeek-V2, V2-Lite and Coder-V2."""

    model_types = ("deepseek_v2",)
