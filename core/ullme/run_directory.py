"""Whose folder is this: a run's resolved YAML and plugin lock, compared before anything is added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import yaml

from ullme.atomic import atomic_write
from ullme.config.load import dump_yaml
from ullme.config.slots import choices
from ullme.errors import ConfigError, OutputError
from ullme.plugins import lock

if TYPE_CHECKING:
    from ullme.config.schema import Pipeline

CONFIG, LOCK = "ullme.yaml", "plugins.lock"


def claim(pipeline: Pipeline, *, frozen: bool, say: Callable[[str], None]) -> None:
    """Make `pipeline.output` this run's folder, or see that it is.

    Raises ConfigError if it holds a run of another configuration or, with `frozen`, of other plugins; other plugins
    are otherwise only told of.
    """
    folder = pipeline.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"output {folder}: cannot be made: {exc.strerror}") from exc
    resolved = dump_yaml(pipeline)
    plugins = lock.snapshot([choice.record for choice in choices(pipeline)])
    if (folder / LOCK).is_file():
        changed = lock.compare(lock.read(folder / LOCK), plugins)
        if changed and frozen:
            listed = "\n  ".join(changed)
            raise ConfigError(f"--frozen: {folder / LOCK} was written with other plugins:\n  {listed}")
        for line in changed:
            say(f"warning: {folder} was begun with another plugin: {line}")
    elif frozen:
        raise ConfigError(f"--frozen: {folder / LOCK} does not exist: run once without --frozen to write it")
    if (folder / CONFIG).is_file():
        before = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
        differences = _differences(before, yaml.safe_load(resolved))
        if differences:
            listed = "\n  ".join(differences[:10])
            raise ConfigError(
                f"output {folder} holds a run of another configuration:\n  {listed}\n"
                "  Give this one another `output:` (--set output=DIR), or remove that folder."
            )
        return
    plugins.write(folder / LOCK)
    with atomic_write(folder / CONFIG, "w") as file:
        file.write(resolved)


def _differences(before: Any, now: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{at}.{key}".lstrip("."))]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [d for i, pair in enumerate(zip(before, now, strict=True)) for d in _differences(*pair, f"{at}.{i}")]
    return [] if before == now else [f"{at}: {before!r} there, {now!r} here"]
