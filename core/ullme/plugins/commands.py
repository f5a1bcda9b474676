"""Sub-commands that distributions advertise in the entry-point group `ullme.commands`: a name for a module.

The module offers what those of `ullme.cli` offer (SUMMARY, EXAMPLE, add_arguments, run) and is imported when chosen.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ullme.errors import AmbiguousPlugin, PluginLoadError, PluginRefused
from ullme.plugins import discovery, index
from ullme.plugins.discovery import PluginRecord
from ullme.plugins.policy import refusal

GROUP = "ullme.commands"
_OFFERED = ("SUMMARY", "EXAMPLE", "add_arguments", "run")


def find() -> tuple[PluginRecord, ...]:
    """Every advertised command, sorted; the target of each is a module. Imports none."""
    return discovery.survey({GROUP: discovery.COMMAND}).records


def load(name: str) -> ModuleType | None:
    """The module of an advertised command, or None. Raises UllmeError for one that is refused, ambiguous or broken."""
    found = [record for record in find() if record.name == name]
    if not found:
        return None
    if len(found) > 1:
        raise AmbiguousPlugin(f"several distributions bring the command '{name}': {', '.join(map(str, found))}")
    (record,) = found
    if reason := record.problem or refusal(record, index.load()):
        raise PluginRefused(f"{record}: {reason}\n  Nothing of it was imported.")
    try:
        module = import_module(record.target)
    except (Exception, SystemExit) as error:
        raise PluginLoadError(f"{record} could not be imported: {type(error).__name__}: {error}") from error
    if missing := [part for part in _OFFERED if not hasattr(module, part)]:
        raise PluginLoadError(f"{record} offers no {', '.join(missing)}")
    return module
