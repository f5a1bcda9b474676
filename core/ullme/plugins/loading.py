"""Import a plugin that was chosen and check it against its interface, or find its file. Every failure is attributed."""

from __future__ import annotations

import traceback
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ullme.errors import PluginLoadError
from ullme.kinds import KINDS, canonical
from ullme.plugins.discovery import PluginRecord


def load_class(record: PluginRecord) -> type[Any]:
    """Import a plugin and check it against its interface. Raises PluginLoadError naming plugin and distribution."""
    interface = KINDS[record.kind].interface
    if interface is None:
        raise TypeError(f"{record} is data: it has a file and no class")
    entry_point = metadata.EntryPoint(record.name, record.target, KINDS[record.kind].group)
    try:
        cls = entry_point.load()
    except (Exception, SystemExit) as error:
        cause = f"{type(error).__name__}: {error}"
        hints = _place(error) + _extra(record, error)
        raise PluginLoadError(f"{record} could not be imported: {cause}{hints}") from error

    from ullme import interfaces

    base: type[interfaces.Component] = getattr(interfaces, interface)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginLoadError(f"{record} is not a subclass of ullme.{base.__name__}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise PluginLoadError(f"{record} does not implement {', '.join(missing)} of ullme.{base.__name__}")
    if not issubclass(cls.Config, base.Config):
        raise PluginLoadError(f"{record}: its Config must extend ullme.{base.__name__}.Config")
    return cls


def find_file(record: PluginRecord) -> Path:
    """The file of a plugin that is data. Imports nothing, not even the package that it lies in.

    Raises PluginLoadError naming plugin and distribution when there is none.
    """
    package, _, stem = record.target.partition(":")
    top, *below = package.split(".")
    spec = find_spec(top)
    if spec is None:
        raise PluginLoadError(f"{record}: there is no package '{top}'")
    folders = spec.submodule_search_locations or ([str(Path(spec.origin).parent)] if spec.origin else [])
    places = [Path(folder, *below, f"{stem}.yaml") for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise PluginLoadError(f"{record}: its file is missing: {', '.join(map(str, places)) or f'{top} has no folder'}")


def _place(error: BaseException) -> str:
    """Where in the plugin's code the error was raised, if its code was reached at all."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if "importlib" not in f.filename]
    return f"\n  raised at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _extra(record: PluginRecord, error: BaseException) -> str:
    """How to get a missing module that one of the distribution's extras brings."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(record.dist) or []
    except metadata.PackageNotFoundError:
        return ""
    for requirement in map(Requirement, lines):
        wanted = canonical(requirement.name) == canonical(error.name.partition(".")[0])
        extra = str(requirement.marker or "").partition("extra == ")[2].strip("\"'")
        if wanted and extra:
            return f"\n  pip install '{record.dist}[{extra}]'"
    return ""
