"""Whose folder is this: a run's resolved YAML and plugin lock, compared before anything is added to it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml

from ullme.atomic import atomic_write, locked
from ullme.config.load import dump_yaml
from ullme.config.slots import choices
from ullme.errors import ConfigError, OutputError
from ullme.plugins import lock
from ullme.types import Example

if TYPE_CHECKING:
    from ullme.config.schema import Pipeline

CONFIG, LOCK = "ullme.yaml", "plugins.lock"


def claim(pipeline: Pipeline, *, frozen: bool, say: Callable[[str], None]) -> IO[str]:
    """Make `pipeline.output` this run's folder, or see that it is. Keep what is returned: it is the folder's lock.

    Raises ConfigError if it holds a run of another configuration, if a process is at work in it or, with `frozen`, if
    it was begun with other plugins; those are otherwise only told of.
    """
    folder = pipeline.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"output {folder}: cannot be made: {exc.strerror}") from exc
    lock_file = locked(folder, f"output {folder}")
    for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while writing
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
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
        try:
            before = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{folder / CONFIG}: damaged ({str(exc).splitlines()[0]}); use another output") from exc
        differences = _differences(before, yaml.safe_load(resolved))
        if differences:
            listed = "\n  ".join(differences[:10])
            raise ConfigError(
                f"output {folder} holds a run of another configuration:\n  {listed}\n"
                "  Give this one another `output:` (--set output=DIR), or remove that folder."
            )
        return lock_file
    plugins.write(folder / LOCK)
    with atomic_write(folder / CONFIG, "w") as file:
        file.write(resolved)
    return lock_file


def remember_data(folder: Path, examples: Sequence[Example]) -> None:
    """Note which rows a stage trains on. Raises ConfigError if it was begun on other rows."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    note = {"rows": len(examples), "sha256": digest.hexdigest()}
    path = folder / "data.json"
    if path.is_file() and json.loads(path.read_text("utf-8")) != note:
        raise ConfigError(
            f"{folder}: this stage was begun on other rows than its source gives now; a resumed run would be neither.\n"
            "  Bring the data back, use another output, or remove that folder to train on the new rows."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        json.dump(note, file)


def _differences(before: Any, now: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{at}.{key}".lstrip("."))]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [d for i, pair in enumerate(zip(before, now, strict=True)) for d in _differences(*pair, f"{at}.{i}")]
    return [] if before == now else [f"{at}: {before!r} there, {now!r} here"]
