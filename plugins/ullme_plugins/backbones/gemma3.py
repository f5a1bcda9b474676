"""Gemma 3 text models: alternating sliding-window and full attention, scaled input embeddings, 262k vocabulary.

In bidirectional mode a window of W lets a token see W-1 neighbours on each side, as its causal half does.
EmbeddingGemma (`use_bidirectional_attention` in its config) was trained to look both ways, with half of W on each side:
it stays as it is, is read as an encoder, and gives no likelihoods.
"""

from typing import Any

from ullme_plugins.backbones import _logits
from ullme_plugins.backbones._hf import Decoder


class Gemma3(Decoder):
    """Gemma 3 text models (270M, 1B) and EmbeddingGemma."""

    model_types = ("gemma3_text",)

    def logits(self, config: Any) -> "_logits.Logits | None":
        """Soft-capping, where the config asks for it."""
        return _logits.capped(config.final_logit_softcapping)
