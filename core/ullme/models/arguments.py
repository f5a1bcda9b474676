"""From the arguments of the paper's constructor to a model: a `model:` section, and what a checkpoint says itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.config.load import load_model
from ullme.errors import ConfigError, DataError
from ullme.model.build import build_embedder
from ullme.model.trained import Checkpoint, load_whole, read_trained
from ullme.plugins.arguments import plugin_name
from ullme.plugins.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ullme.config.schema import ModelConfig
    from ullme.model.embedder import Embedder

RANK, DTYPE = 16, "bfloat16"
"""What a new model has where nothing is said, as in the paper's code."""


@dataclass(frozen=True)
class Arguments:
    """What `ULLME` was given, by the names that it has there; None where nothing was said."""

    model_name_or_path: str
    model_backbone_type: str | None
    pooling_method: str | None
    lora_name: str | None
    lora_r: int | None
    lora_alpha: float
    dropout: float
    attn_implementation: str | None
    model_dtype: torch.dtype | str | None
    normalize: bool | None
    max_length: int | None
    section: Mapping[str, Any] = field(default_factory=dict)

    def load(self, checkpoint: Checkpoint | None, *, seed: int, device: str | None) -> Embedder:
        """The embedder, new or trained. Raises what building it and reading its weights raise, and ConfigError for
        arguments that say otherwise than the checkpoint."""
        registry = Registry()
        if checkpoint is not None and checkpoint.whole:
            embedder = load_whole(checkpoint, device)
            self._agree(checkpoint, embedder.config, registry)
            return embedder
        adapter = checkpoint.path if checkpoint is not None and checkpoint.kind == "adapter" else None
        config = load_model(self._model_section(adapter, registry), self.section, registry)
        embedder = build_embedder(config, seed=seed, device=device)
        if checkpoint is not None and checkpoint.kind == "weights":
            read_trained(embedder, Path(checkpoint.path))
        if adapter is not None and self.lora_r not in (None, found := _rank_of(embedder)):
            raise ConfigError(f"lora_r: found {self.lora_r}, but the adapter in {adapter} has {found}")
        return embedder

    def _model_section(self, trained_adapter: str | None, registry: Registry) -> dict[str, Any]:
        section: dict[str, Any] = {
            "backbone": {
                "use": self._plugin(registry, "backbone", "model_backbone_type") or registry.index.defaults["backbone"],
                "path": str(self.model_name_or_path),
                "dtype": self._dtype or DTYPE,
                "attn_implementation": self.attn_implementation,
            },
            "normalize": bool(self.normalize),
        }
        pooler = self._plugin(registry, "pooler", "pooling_method")
        section |= {} if pooler is None else {"pooler": pooler}
        section |= {} if self.max_length is None else {"max_tokens": self.max_length}
        if trained_adapter is not None:
            section["adapter"] = {"path": trained_adapter, "dropout": self.dropout}
        elif self.lora_name is not None:
            rank = RANK if self.lora_r is None else self.lora_r
            section["adapter"] = {"r": rank, "alpha": self.lora_alpha, "dropout": self.dropout}
        return section

    def _agree(self, checkpoint: Checkpoint, config: ModelConfig, registry: Registry) -> None:
        """Refuse what differs from a checkpoint that says itself what the whole model is."""
        for name in self.section:
            raise ConfigError(f"{name}: {checkpoint.path} says itself what the whole model is; do not give it again")
        family, any_family = config.backbone.name, registry.index.defaults["backbone"]
        asked = self._plugin(registry, "backbone", "model_backbone_type")
        pairs = {
            "model_backbone_type": (None if any_family in (asked, family) else asked, family),
            "pooling_method": (self._plugin(registry, "pooler", "pooling_method"), config.pooler.name),
            "lora_r": (self.lora_r, config.adapter and config.adapter.r),
            "model_dtype": (self._dtype, config.backbone.config.dtype),
            "attn_implementation": (self.attn_implementation, config.backbone.config.attn_implementation),
            "normalize": (self.normalize, config.normalize),
            "max_length": (self.max_length, config.max_tokens),
        }
        for name, (given, found) in pairs.items():
            if given is not None and given != found:
                raise ConfigError(f"{name}: found {given!r}, but the model in {checkpoint.path} has {found!r}")

    def _plugin(self, registry: Registry, kind: str, argument: str) -> str | None:
        name = getattr(self, argument)
        return None if name is None else plugin_name(registry, kind, argument, name)

    @property
    def _dtype(self) -> str | None:
        return None if self.model_dtype is None else str(self.model_dtype).removeprefix("torch.")


def _rank_of(embedder: Embedder) -> int | None:
    """The rank of the first adapter."""
    adapter: Any = embedder.adapter
    return next((config.r for config in adapter.peft_config.values()), None)


def rank(lora_r: int | None, loar_r: int | None) -> int | None:
    """The rank under either spelling; with a warning for the wrong one. Raises ConfigError if both are given."""
    if loar_r is None:
        return lora_r
    if lora_r not in (None, loar_r):
        raise ConfigError(f"lora_r is {lora_r} and loar_r is {loar_r}: they are one setting; give `lora_r` alone")
    warnings.warn("loar_r is the paper's misspelling of lora_r, and taken for it", FutureWarning, stacklevel=3)
    return loar_r


def unusable(labels: Tensor | None, kwargs: Mapping[str, Any]) -> str | None:
    """The first argument that says nothing about a vector. Token types do not, where there is one text alone."""
    given = {"labels": labels, **kwargs}
    types = given.pop("token_type_ids", None)
    if types is not None and bool(types.any()):
        raise DataError("token_type_ids: found pairs of texts; a vector is that of one text")
    return next((name for name, value in given.items() if value is not None), None)
