"""`plugins.lock`: which plugins, from which versions of which distributions, made a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ullme.atomic import atomic_write
from ullme.errors import ConfigError
from ullme.plugins.discovery import OWN_DIST, PluginRecord

_FORMAT = 1
_ROW = ("kind", "name", "dist", "version", "target", "origin")
_INFORMATION = (OWN_DIST, "torch", "transformers", "peft", "lightning")


@dataclass(frozen=True)
class Lock:
    """One row per plugin (kind, name, dist, version, target, origin), and versions that are not compared."""

    plugins: tuple[dict[str, str], ...]
    environment: dict[str, str]

    def write(self, path: Path) -> None:
        """Write as JSON, rows in a stable order. Raises OutputError."""
        content = {"lock_version": _FORMAT, "plugins": self.plugins, "environment": self.environment}
        with atomic_write(path, "w") as handle:
            handle.write(json.dumps(content, indent=2) + "\n")


def snapshot(records: Iterable[PluginRecord]) -> Lock:
    """The lock of the plugins that a run uses, each once."""
    rows = [{key: str(asdict(record)[key]) for key in _ROW} for record in sorted(set(records), key=_identity)]
    versions = {"python": platform.python_version()}
    for name in _INFORMATION:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return Lock(tuple(rows), versions)


def read(path: Path) -> Lock:
    """Read a lock written by `Lock.write`. Raises ConfigError naming the file."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["lock_version"] != _FORMAT:
            raise ConfigError(f"{path}: lock_version is {data['lock_version']}; this ullme reads version {_FORMAT}")
        rows = tuple({key: str(row[key]) for key in _ROW} for row in data["plugins"])
        return Lock(rows, dict(data["environment"]))
    except OSError as error:
        raise ConfigError(f"{path}: the lock file cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: not a plugins.lock ({type(error).__name__}: {error})") from None


def compare(old: Lock, new: Lock) -> list[str]:
    """One line per plugin that differs between two locks; empty when the same plugins are used."""
    before, after = ({_key(row): row for row in lock.plugins} for lock in (old, new))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        label = f"{key[0]} '{key[2]}:{key[1]}'"
        if was is None or now is None:
            lines.append(f"{label} is {'new' if was is None else 'no longer used'}")
            continue
        changes = [
            f"{field} {was[field]} -> {now[field]}" for field in ("version", "target") if was[field] != now[field]
        ]
        if _source(was["origin"]) != _source(now["origin"]):
            changes.append(f"origin {was['origin']} -> {now['origin']}")
        if changes:
            lines.append(f"{label}: {', '.join(changes)}")
    return lines


def _source(origin: str) -> str:
    """An origin without the local folder, which differs from machine to machine and says nothing of the code."""
    return origin.partition("file://")[0]


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["kind"], row["name"], row["dist"]


def _identity(record: PluginRecord) -> tuple[str, str, str]:
    return record.kind, record.name, record.dist
