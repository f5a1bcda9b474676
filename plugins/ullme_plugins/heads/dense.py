"""A linear layer behind the pooler: the dense layers of ST5 and GTR, or one to be trained."""

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ullme import AssetError, ConfigError, Head, WeightFolder

if TYPE_CHECKING:
    from torch import nn

    from ullme import LoadedBackbone


class Dense(Head):
    """activation(W v + b): a linear layer and an activation (sentence-transformers' Dense).

    ST5 and GTR (arXiv:2108.08877, 2112.07899): `{use: dense, out_features: 768, bias: false, path: ORG/NAME/2_Dense}`.
    Without `path` the layer is random and must be trained.
    """

    class Config(Head.Config):
        out_features: int | None = Field(None, gt=0, description="length of the new vector; default: unchanged")
        bias: bool = Field(True, description="whether there is a b")
        activation: Literal["identity", "tanh", "relu", "gelu"] = "identity"
        path: str | None = Field(
            None, description="trained weights: folder, .safetensors file, or ORG/NAME/FOLDER of the hub"
        )
        revision: str | None = Field(None, description="branch, tag or commit on the hub")
        allow_pickle: bool = Field(False, description="accept pickle weights, which can run code when loaded")

    def out_size(self, size: int) -> int:
        """`out_features`, or the size as it is."""
        return self.config.out_features or size

    def build(self, size: int, loaded: "LoadedBackbone") -> "nn.Module":
        """A module with `linear.weight` and `linear.bias`. Raises AssetError or ConfigError if those of `path` differ.

        A folder that says by its config.json what the layer is, as sentence-transformers' do, must say the same.
        """
        from ullme_plugins.heads._modules import DenseLayer

        config = self.config
        layer = DenseLayer(size, self.out_size(size), config.bias, config.activation)
        if config.path is not None:
            folder = WeightFolder(config.path, config.revision)
            self._check(folder, size)
            folder.load_into(layer, allow_pickle=config.allow_pickle)
        return layer

    def _check(self, folder: WeightFolder, size: int) -> None:
        file = folder.file("config.json")
        if file is None:
            return
        try:
            held: dict[str, Any] = json.loads(file.read_text("utf-8"))
            facts = {key: held[key] for key in ("in_features", "out_features", "bias") if key in held}
            activation = str(held.get("activation_function", "")).rsplit(".", 1)[-1].lower()
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise AssetError(f"{file}: expected the settings of a dense layer in JSON: {error}") from error
        config = self.config
        mine = {"in_features": size, "out_features": self.out_size(size), "bias": config.bias}
        wrong = [f"{key} is {value} there, {mine[key]} here" for key, value in facts.items() if value != mine[key]]
        if activation and activation != config.activation:
            wrong.append(f"activation is {activation} there, {config.activation} here")
        if held.get("use_residual"):
            wrong.append("use_residual is true there, which this head does not offer")
        if wrong:
            raise ConfigError(f"dense: {folder.path} is another layer: {'; '.join(wrong)}")
