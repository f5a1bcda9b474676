"""From the name in a config to the plugin class: the one registry, for every kind."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ullme.errors import AmbiguousPlugin, PluginRefused, UnknownPlugin
from ullme.kinds import canonical
from ullme.plugins import index as index_file
from ullme.plugins.discovery import OWN_DIST, PluginRecord, scan
from ullme.plugins.index import Index
from ullme.plugins.loading import find_file, load_class
from ullme.plugins.policy import refusal


class Registry:
    """A view of what is installed, taken when it is made. Both arguments default to this environment's."""

    def __init__(self, records: Iterable[PluginRecord] | None = None, index: Index | None = None) -> None:
        self.records = tuple(scan() if records is None else records)
        self.index = index_file.load() if index is None else index
        self._loaded: dict[PluginRecord, type[Any]] = {}

    def names(self, kind: str) -> list[str]:
        """Names of the installed plugins of a kind, sorted."""
        return sorted({record.name for record in self.records if record.kind == kind})

    def suggest(self, kind: str, name: str) -> list[str]:
        """Up to three names, installed or known, that `name` may have been meant to be."""
        from difflib import get_close_matches

        known = (word for entry in self.index.of(kind) for word in (entry.name, *entry.aliases))
        return get_close_matches(canonical(name), {*self.names(kind), *known}, n=3)

    def resolve(self, kind: str, name: str) -> PluginRecord:
        """The record that `name` or `dist:name` stands for. Imports nothing.

        Raises UnknownPlugin, AmbiguousPlugin, or PluginRefused where a deny or allow list forbids it.
        """
        dist, _, short = map(canonical, name.rpartition(":"))
        installed = {(r.name, r.dist) for r in self.records if r.kind == kind}
        if (short, dist) not in installed:  # a qualified name is taken at its word first
            short = self.index.aliased(kind, short)
        short = self._successor(kind, short, installed)

        candidates = [r for r in self.records if r.kind == kind and r.name == short and dist in ("", r.dist)]
        if not candidates:
            raise UnknownPlugin(self._unknown(kind, name, dist, short))
        refusals = {record: reason for record in candidates if (reason := refusal(record, self.index))}
        usable = [record for record in candidates if record not in refusals]
        if not usable:
            reasons = "\n".join(f"{record}: {reason}" for record, reason in refusals.items())
            raise PluginRefused(f"{reasons}\n  Nothing of it was imported.")
        sound = [record for record in usable if record.problem is None]
        return self._choose(kind, name, sound or usable)

    def _successor(self, kind: str, short: str, installed: set[tuple[str, str]]) -> str:
        """Warn about a deprecated name, and pass to the plugin that replaced it where the old one is gone."""
        entry = self.index.find(kind, short)
        if entry is None or entry.status != "deprecated":
            return short
        instead = f"; use '{entry.replaced_by}'" if entry.replaced_by else ""
        warnings.warn(f"{kind} '{short}' is deprecated{instead}", FutureWarning, stacklevel=3)
        gone = short not in {name for name, _ in installed}
        return entry.replaced_by if gone and entry.replaced_by else short

    def _choose(self, kind: str, name: str, usable: list[PluginRecord]) -> PluginRecord:
        preferred = self.index.prefer.get(f"{kind}:{usable[0].name}")
        if preferred and ":" not in name:
            for record in usable:
                if record.dist == preferred:
                    return record
            raise UnknownPlugin(
                f"the index prefers {preferred} for {kind} '{usable[0].name}', but it is not installed.\n"
                f"  pip install {preferred}, or name another: {' or '.join(r.qualified for r in usable)}"
            )
        own = [record for record in usable if record.dist == OWN_DIST]
        if len(own) == 1:
            return own[0]
        if len(usable) > 1:
            raise AmbiguousPlugin(
                f"{kind} '{name}' is provided more than once: {', '.join(map(str, usable))}.\n"
                f"  Write one of them in full: {' or '.join(sorted({r.qualified for r in usable}))}"
            )
        return usable[0]

    def _unknown(self, kind: str, name: str, dist: str, short: str) -> str:
        homes = sorted({r.qualified for r in self.records if r.kind == kind and r.name == short})
        if homes:
            return f"{dist} provides no {kind} named '{short}'. Installed: {', '.join(homes)}"
        if entry := self.index.find(kind, short, dist or None):
            return f"{kind} '{name}' is known but not installed.\n  pip install {entry.dist}"
        close = self.suggest(kind, short)
        meant = f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
        return f"no {kind} named '{name}' is installed.{meant}\n  Installed: {', '.join(self.names(kind)) or 'none'}"

    def status(self, record: PluginRecord) -> str:
        """`ok`, or in a few words why this plugin cannot be used, or how it must be named. Imports nothing."""
        if reason := record.problem:
            return reason
        if reason := refusal(record, self.index):
            return f"refused: {reason}"
        try:
            with warnings.catch_warnings(action="ignore"):
                chosen = self.resolve(record.kind, record.name)
        except (AmbiguousPlugin, UnknownPlugin):
            chosen = None
        if chosen != record:
            return f"clash: use {record.qualified}"
        entry = self.index.find(record.kind, record.name, record.dist)
        if entry is None or entry.status == "stable":
            return "ok"
        return entry.status + (f": use {entry.replaced_by}" if entry.replaced_by else "")

    def load(self, kind: str, name: str) -> type[Any]:
        """The class behind a name: a subclass of the kind's interface with nothing abstract left.

        Raises what `resolve` raises, PluginRefused when the plugin does not fit this ullme, and PluginLoadError.
        """
        record = self._usable(kind, name)
        if record not in self._loaded:
            self._loaded[record] = load_class(record)
        return self._loaded[record]

    def file(self, kind: str, name: str) -> Path:
        """The file behind a name, for a kind that is data. Raises what `load` raises, and imports nothing."""
        return find_file(self._usable(kind, name))

    def _usable(self, kind: str, name: str) -> PluginRecord:
        record = self.resolve(kind, name)
        if record.problem:
            raise PluginRefused(f"{record}: {record.problem}")
        return record
