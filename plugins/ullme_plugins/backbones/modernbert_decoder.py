"""ModernBERT's decoder twin (Ettin): windows of 128 tokens in two of three layers."""

from typing import TYPE_CHECKING, Any

from ullme_plugins.backbones._hf import Decoder

if TYPE_CHECKING:
    from torch import nn


class ModernBertDecoder(Decoder):
    """ModernBERT decoders, such as Ettin."""

    model_types = ("modernbert-decoder",)

    def head(self, model: Any) -> "nn.Module | None":
        """A dense layer and the projection; transformers calls the latter alone the output embeddings."""
        from torch import nn

        return nn.Sequential(model.lm_head, model.decoder) if hasattr(model, "decoder") else None
