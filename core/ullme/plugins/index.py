"""Read `registry.toml`, the curated index: what plugins are known, and what metadata cannot say without importing.

The file beside the package (in a checkout: at its root) comes first; `$ULLME_REGISTRY` names one layered on top.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any

from ullme.errors import ConfigError
from ullme.kinds import KINDS, canonical

_PACKAGE = Path(__file__).parents[1]
_STATUSES = ("stable", "experimental", "deprecated")
_TABLES = {"index_version", "plugin", "defaults", "policy", "prefer"}


@dataclass(frozen=True)
class IndexEntry:
    """One known plugin. A deprecated one may name its successor in `replaced_by`; aliases are other names for it."""

    kind: str
    name: str
    dist: str
    summary: str
    paper: str = ""
    since: str = ""
    status: str = "stable"
    aliases: tuple[str, ...] = ()
    replaced_by: str | None = None


@dataclass(frozen=True)
class Index:
    """The layered index. `deny` and `allow` map a name to the file that lists it; `allow` None means anything goes.

    `defaults` says what a pipeline gets where its YAML is silent; `prefer` maps `kind:name` to a distribution.
    """

    entries: tuple[IndexEntry, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    deny: Mapping[str, str] = field(default_factory=dict)
    allow: Mapping[str, str] | None = None
    prefer: Mapping[str, str] = field(default_factory=dict)

    def find(self, kind: str, name: str, dist: str | None = None) -> IndexEntry | None:
        """The entry of that kind and canonical name, of that distribution if one is given."""
        return next((e for e in self.of(kind) if e.name == name and dist in (None, e.dist)), None)

    def of(self, kind: str) -> list[IndexEntry]:
        """All entries of a kind, in the order of the file."""
        return [entry for entry in self.entries if entry.kind == kind]

    def aliased(self, kind: str, name: str) -> str:
        """The name for which `name` is an alias, or `name` itself."""
        return next((entry.name for entry in self.of(kind) if name in entry.aliases), name)

    def over(self, base: Index) -> Index:
        """This index layered on `base`: its rows and settings win, its lists of denied names are added."""
        mine = {(entry.kind, entry.name, entry.dist) for entry in self.entries}
        return Index(
            (*self.entries, *(e for e in base.entries if (e.kind, e.name, e.dist) not in mine)),
            {**base.defaults, **self.defaults},
            {**base.deny, **self.deny},
            base.allow if self.allow is None else self.allow,
            {**base.prefer, **self.prefer},
        )


def load() -> Index:
    """The index of this environment. Raises ConfigError naming file and line of what is wrong in it."""
    beside, checkout = _PACKAGE / "registry.toml", _PACKAGE.parents[1] / "registry.toml"
    paths = [beside if beside.exists() else checkout]
    if layer := os.environ.get("ULLME_REGISTRY"):
        paths.append(Path(layer))
    return reduce(lambda base, top: top.over(base), map(read, paths))


def read(path: Path) -> Index:
    """One index file. Raises ConfigError naming file and line."""
    try:
        text = path.read_text("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: the plugin index cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the plugin index is not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"{path}{':' + line[1] if line else ''}: not valid TOML: {error}") from None

    if data.get("index_version") != 1:
        found = data.get("index_version", "none")
        raise ConfigError(f"{path}: index_version is {found}; this ullme reads version 1")
    _only(data, _TABLES, str(path))
    places = [f"{path}:{number}" for number, line in enumerate(text.splitlines(), 1) if line.strip() == "[[plugin]]"]
    rows = data.get("plugin", [])
    if len(places) != len(rows):  # rows written inline: name the file alone
        places = [str(path)] * len(rows)
    entries = [_entry(row, place) for row, place in zip(rows, places, strict=True)]
    _distinct(entries, places)

    policy = data.get("policy", {})
    _only(policy, {"deny", "allow"}, f"{path}: [policy]")
    listed = {key: {canonical(n): str(path) for n in _names(policy[key], f"{path}: {key}")} for key in policy}
    defaults, prefer = (_table(data.get(key, {}), f"{path}: [{key}]") for key in ("defaults", "prefer"))
    prefer = {canonical(key): canonical(dist) for key, dist in prefer.items()}
    return Index(tuple(entries), defaults, listed.get("deny", {}), listed.get("allow"), prefer)


def _entry(row: dict[str, Any], place: str) -> IndexEntry:
    _only(row, {f.name for f in fields(IndexEntry)}, place)
    if missing := [key for key in ("kind", "name", "dist", "summary") if key not in row]:
        raise ConfigError(f"{place}: this [[plugin]] lacks {', '.join(missing)}")
    values: dict[str, Any] = {"aliases": tuple(map(canonical, _names(row.get("aliases", []), f"{place}: aliases")))}
    for key in row.keys() - values:
        if not isinstance(row[key], str):
            raise ConfigError(f"{place}: {key} is {row[key]!r}, expected a string")
        values[key] = canonical(row[key]) if key in ("name", "dist", "replaced_by") else row[key]
    entry = IndexEntry(**values)
    for key, allowed in (("kind", tuple(KINDS)), ("status", _STATUSES)):
        if getattr(entry, key) not in allowed:
            raise ConfigError(f"{place}: {key} is {getattr(entry, key)!r}, expected one of {', '.join(allowed)}")
    return entry


def _distinct(entries: list[IndexEntry], places: list[str]) -> None:
    """Refuse a row written twice, and an alias that is also a name or another row's alias."""
    rows: set[tuple[str, str, str]] = set()
    taken = {(entry.kind, entry.name) for entry in entries}
    for entry, place in zip(entries, places, strict=True):
        if (entry.kind, entry.name, entry.dist) in rows:
            raise ConfigError(f"{place}: {entry.kind} {entry.name!r} of {entry.dist} is listed twice")
        rows.add((entry.kind, entry.name, entry.dist))
        for alias in entry.aliases:
            if (entry.kind, alias) in taken:
                raise ConfigError(f"{place}: alias {alias!r} is already the name or alias of another {entry.kind}")
            taken.add((entry.kind, alias))


def _only(found: Iterable[str], known: Iterable[str], place: str) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise ConfigError(f"{place}: unknown key {unknown[0]!r}. Known: {', '.join(sorted(known))}")


def _names(value: Any, place: str) -> list[str]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise ConfigError(f"{place} is {value!r}, expected a list of strings")
    return value


def _table(value: Any, place: str) -> dict[str, str]:
    if not (isinstance(value, dict) and all(isinstance(text, str) for text in value.values())):
        raise ConfigError(f"{place} is {value!r}, expected strings only")
    return value
