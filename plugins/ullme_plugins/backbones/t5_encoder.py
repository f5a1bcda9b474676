"""The encoder half of T5 and mT5: relative positions, no scaling of attention scores, RMS norm.

A text ends with </s>; nothing starts it. Sentence-T5 and GTR are built on it. The decoder half is not loaded.
"""

from typing import TYPE_CHECKING, Any

from ullme_plugins.backbones._hf import Encoder

if TYPE_CHECKING:
    from ullme_plugins.backbones._source import Source


class T5Encoder(Encoder):
    """Encoders of T5, FLAN-T5, Sentence-T5, GTR, mT5 and uMT5."""

    model_types = ("t5", "mt5", "umt5")

    def read_model(self, source: "Source", stated: dict[str, Any]) -> Any:
        """The class of the encoder alone."""
        import transformers

        config = transformers.AutoConfig.from_pretrained(source.where, **source.how)
        names = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
        return self.complete(getattr(transformers, names[config.model_type]), config, source)

    def longest(self, config: Any) -> int | None:
        """Relative positions end nowhere: the tokenizer's limit holds."""
        return None
