"""Find installed plugins by reading the metadata of distributions. Never imports plugin code."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import NamedTuple

from ullme import __version__
from ullme.kinds import KINDS, canonical

OWN_DIST = canonical(__name__.partition(".")[0])
"""The distribution that ships this package bears the package's name; its plugins are the first-party ones."""

COMMAND = "command"
"""What records of sub-commands are called: their targets are modules, not classes."""

_KIND_OF_GROUP = {kind.group: kind.name for kind in KINDS.values()}


@dataclass(frozen=True, order=True)
class PluginRecord:
    """One advertised plugin. `origin` says where its distribution came from; `problem` why it cannot be used."""

    kind: str
    name: str
    dist: str
    version: str
    target: str
    origin: str = "index"
    problem: str | None = None

    @property
    def qualified(self) -> str:
        """The name that is never ambiguous: `dist:name`."""
        return f"{self.dist}:{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' ({self.dist} {self.version}, {self.target})"


class Fault(NamedTuple):
    """A distribution that advertises plugins in metadata that cannot be read."""

    where: str
    problem: str


class Survey(NamedTuple):
    """What a look at every distribution on `sys.path` found, in a stable order."""

    records: tuple[PluginRecord, ...]
    faults: tuple[Fault, ...]


_declared: dict[tuple[str, str], PluginRecord] = {}


def declare(record: PluginRecord) -> None:
    """Add a plugin that no distribution advertises (`--plugin`) to every later survey of this process."""
    _declared[record.kind, record.name] = record


def scan() -> tuple[PluginRecord, ...]:
    """Every plugin of every readable distribution, sorted."""
    return survey().records


def survey(groups: Mapping[str, str] = _KIND_OF_GROUP) -> Survey:
    """Read the metadata afresh: entry points of `groups`, which maps each to what its records are called.

    A distribution that cannot be read becomes a fault and disturbs no other.
    """
    records: dict[str, list[PluginRecord]] = {}
    faults = []
    for dist in metadata.distributions():
        try:
            if "[ullme." not in (dist.read_text("entry_points.txt") or ""):
                continue
            name = canonical(dist.metadata["Name"] or "")
            if not name:
                raise ValueError("METADATA is missing or has no Name")
            # The same distribution further down sys.path (a twin, or an older copy) is not what would be imported.
            if name not in records and not _shadowed(dist, name):
                records[name] = list(_records(dist, name, groups))
        except Exception as error:  # any reader error is this distribution's fault, not ours
            faults.append(Fault(_place(dist), f"{type(error).__name__}: {error}"))
    found = {record for group in records.values() for record in group}
    found |= {record for record in _declared.values() if record.kind in groups.values()}
    return Survey(tuple(sorted(found, key=lambda r: (r.kind, r.name, r.dist, r.target))), tuple(faults))


def _shadowed(dist: metadata.Distribution, name: str) -> bool:
    try:
        return metadata.distribution(name).locate_file("") != dist.locate_file("")
    except metadata.PackageNotFoundError:
        return False


def _place(dist: metadata.Distribution) -> str:
    return str(getattr(dist, "_path", dist.locate_file("")))


def _records(dist: metadata.Distribution, name: str, groups: Mapping[str, str]) -> Iterator[PluginRecord]:
    version, origin = dist.version or "?", _origin(dist)
    incompatible = None if name == OWN_DIST else _incompatible(dist)
    advertised = {(groups.get(ep.group), canonical(ep.name), ep.value) for ep in dist.entry_points}
    times = Counter((kind, plugin) for kind, plugin, _ in advertised)
    for kind, plugin, target in advertised:
        if kind is not None:
            twice = "one name for several targets in its entry points" if times[kind, plugin] > 1 else None
            problem = incompatible or twice or (None if kind == COMMAND else _malformed(target))
            yield PluginRecord(kind, plugin, name, version, target, origin, problem)


def _origin(dist: metadata.Distribution) -> str:
    """`index`, `editable file:///...`, `git+https://...@commit`, or the URL that was installed (PEP 610)."""
    text = dist.read_text("direct_url.json")
    if text is None:
        return "index"
    direct = json.loads(text)
    url = str(direct["url"])
    if vcs := direct.get("vcs_info"):
        return f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"editable {url}" if direct.get("dir_info", {}).get("editable") else url


def _malformed(target: str) -> str | None:
    match = metadata.EntryPoint.pattern.match(target)
    if match is None or not match["attr"]:
        return f"malformed target {target!r}, expected module:Class"
    return None


def _incompatible(dist: metadata.Distribution) -> str | None:
    """Why this ullme does not satisfy the distribution's own `Requires-Dist: ullme...`."""
    wanted = [line for line in dist.requires or () if canonical(line).startswith(OWN_DIST)]
    if not wanted:
        return None
    from packaging.requirements import Requirement  # only third parties pay for it

    for requirement in map(Requirement, wanted):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonical(requirement.name) != OWN_DIST or not applies:
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            return f"needs {OWN_DIST}{requirement.specifier}, found {__version__}"
    return None


def summary_of(dist: str) -> str:
    """The one-line summary of an installed distribution's own metadata, or ''."""
    try:
        return metadata.metadata(dist)["Summary"] or ""
    except (metadata.PackageNotFoundError, KeyError):
        return ""


def uninstalled() -> str | None:
    """Why ullme itself advertises nothing, when it runs from a folder that was never installed."""
    try:
        metadata.distribution(OWN_DIST)
    except metadata.PackageNotFoundError:
        return (
            f"{OWN_DIST} is importable from {sys.modules[OWN_DIST].__path__[0]} but not installed, so it has no "
            "entry points.\n  pip install -e . in its checkout"
        )
    return None
