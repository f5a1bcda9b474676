"""GLM 4: rotary position on half of each head; a text starts with [gMASK]<sop>."""

from ullme_plugins.backbones._hf import Decoder


class GLM4(Decoder):
    """GLM-4, GLM-4-0414 and GLM-4.5."""

    model_types = ("glm", "glm4", "glm4_moe")
