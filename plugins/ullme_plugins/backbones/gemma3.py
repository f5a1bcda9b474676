"""Gemma 3 text models: alternating sliding-window and full attention, scaled input embeddings, 262k vocabulary.

In bidirectional mode a window of W lets a token see W-1 neighbours on each side, as its causal half does.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ullme_plugins.backbones._hf import Decoder

if TYPE_CHECKING:
    from torch import Tensor


class Gemma3(Decoder):
    """Gemma 3 text models (270M, 1B)."""

    model_types = ("gemma3_text",)

    def logits(self, config: Any) -> "Callable[[Tensor], Tensor] | None":
        """Soft-capping, where the config asks for it."""
        cap = config.final_logit_softcapping
        return None if cap is None else lambda logits: cap * (logits / cap).tanh()
