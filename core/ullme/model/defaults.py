"""What comes with the weights and is not said in the YAML: a `model:` section filled up by its backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ullme.errors import ConfigError

if TYPE_CHECKING:
    from ullme.config.schema import ModelConfig


def with_defaults(config: ModelConfig, defaults: Mapping[str, Any]) -> ModelConfig:
    """`config` with `defaults` for the fields that it was not given. Prompts are filled up one by one.

    Raises ConfigError if the defaults are no valid section.
    """
    if not defaults:
        return config
    from pydantic import ValidationError

    from ullme.plugins.registry import Registry

    given = {name: getattr(config, name) for name in config.model_fields_set}
    prompts = {**defaults.get("prompts", {}), **given.get("prompts", {})}
    try:
        return type(config).model_validate({**defaults, **given, "prompts": prompts}, context=Registry())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{config.backbone.who}: what comes with its weights: {place}: {first['msg']}") from error
