"""OPT: learned positions, counted by the model itself from the padding mask.

A text starts with </s>, which also ends it. OPT-350M projects its last states to half of its hidden size.
"""

from typing import Any

from ullme_plugins.backbones._hf import Decoder


class OPT(Decoder):
    """OPT (125M to 66B) and Galactica."""

    model_types = ("opt",)

    def width(self, config: Any) -> int:
        """States leave through a projection where the embeddings are narrower than the layers (350M)."""
        return config.word_embed_proj_dim  # type: ignore[no-any-return]
