"""NV-Embed's checkpoints: a Mistral without its head, stored beside the weights of a pooler.

`config.json` describes the model under `text_config`, and its weights are called `embedding_model...`; the publication
comes with code for that, of which this backbone runs none. The pooler's weights (`latent_attention_model...`) are the
pooler's affair. The model was trained to look both ways: `attention: bidirectional`.
"""

from typing import TYPE_CHECKING, Any

from ullme_plugins.backbones._hf import Encoder

if TYPE_CHECKING:
    from ullme_plugins.backbones._source import Source


class NVEmbed(Encoder):
    """NV-Embed v1 and v2, read without running the code that comes with them."""

    model_types = ("nvembed",)

    def check_family(self, found: str, source: "Source") -> None:
        """The layout as published, or the Mistral body in it, as ullme saves it."""
        if found != "mistral":
            super().check_family(found, source)

    def read_model(self, source: "Source", stated: dict[str, Any]) -> Any:
        """A Mistral body whose weights bear a prefix in the checkpoint."""
        import transformers

        if "text_config" not in stated:
            return super().read_model(source, stated)
        described = {key: value for key, value in stated["text_config"].items() if key not in _NOT_MISTRAL}
        config = transformers.MistralConfig(**described)
        model = self.complete(transformers.MistralModel, config, source, key_mapping={r"^embedding_model\.": ""})
        model._weight_conversions = None  # else transformers saves it under the prefix again, as no Mistral is
        return model


_NOT_MISTRAL = {
    "model_type",
    "architectures",
    "_name_or_path",
    "auto_map",
    "transformers_version",
    "dtype",
    "torch_dtype",
}
