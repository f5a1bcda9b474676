"""DeepSeek V3: as V2, with biased routing. Its multi-token heads are not loaded.

V3.2 chooses keys by an indexer (`deepseek_v32`): `auto` reads it, bidirectional up to its top-k length.
"""

from ullme_plugins.backbones._hf import Decoder


class DeepseekV3(Decoder):
    """DeepSeek-V3 and R1, Moonlight."""

    model_types = ("deepseek_v3",)
