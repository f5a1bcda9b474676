"""Which installed backbone reads which `model_type`: asked of the declarations, first party's and anybody's."""

import logging

from ullme import Backbone, ConfigError, Registry, UllmeError

_LOG = logging.getLogger(__name__)


def serving(model_type: str, registry: Registry | None = None) -> dict[str, type[Backbone]]:
    """The usable backbones that say they read `model_type`, by qualified name. A broken one is skipped and logged."""
    registry = registry or Registry()
    found: dict[str, type[Backbone]] = {}
    for record in registry.records:
        if record.kind != "backbone" or registry.status(record) not in ("ok", "experimental"):
            continue
        try:
            cls = registry.load("backbone", record.qualified)
        except UllmeError as error:
            _LOG.warning("%s", error)
            continue
        if model_type in cls.model_types:
            found[record.qualified] = cls
    return found


def backbone_for(model_type: str) -> str | None:
    """The name under which a backbone for `model_type` is written in YAML, or None."""
    registry = Registry()
    names = sorted(serving(model_type, registry), key=lambda name: not name.startswith("ullme:"))
    return short(names[0], registry) if names else None


def choose(model_type: str) -> tuple[str, type[Backbone]] | None:
    """The one backbone for `model_type`, or None: ullme's own before others'. Raises ConfigError for several others."""
    registry = Registry()
    found = serving(model_type, registry)
    found = {name: cls for name, cls in found.items() if name.startswith("ullme:")} or found
    if len(found) > 1:
        raise ConfigError(
            f"several backbones read {model_type!r} models: {', '.join(found)}.\n  Write one of them after `use:`."
        )
    return next(((short(name, registry), cls) for name, cls in found.items()), None)


def short(qualified: str, registry: Registry) -> str:
    """The plain name where it means the same plugin."""
    name = qualified.partition(":")[2]
    return name if registry.resolve("backbone", name).qualified == qualified else qualified
