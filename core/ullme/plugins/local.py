"""Plugins that are not installed: a class being written, or a folder made by `pip install --target`.

The only user of the `entrypoints` package. Names of installed plugins are resolved through `discovery`.
"""

from __future__ import annotations

import configparser
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import entrypoints

from ullme.errors import ConfigError
from ullme.kinds import KINDS, canonical, kind_named
from ullme.plugins.discovery import PluginRecord, declare

IN_DEVELOPMENT = "local"
"""What stands for the distribution of a plugin given by `--plugin`, as in `local:name`."""


def activate(plugins: Iterable[str], folders: Iterable[str]) -> None:
    """Make the values of `--plugin` and `--plugin-path` visible to every later registry of this process."""
    for folder in folders:
        add_folder(Path(folder))
    for text in plugins:
        declare(parse(text))
        if "" not in sys.path:  # the class being written lives where the user stands
            sys.path.append("")


def parse(text: str) -> PluginRecord:
    """The record of `kind:name=module:Class`. Raises ConfigError."""
    head, _, target = text.partition("=")
    kind_text, _, name = head.partition(":")
    kind = kind_named(kind_text)
    if kind is None or not name:
        raise ConfigError(f"--plugin {text}: expected kind:name=module:Class, where kind is one of {', '.join(KINDS)}")
    try:
        entry_point = entrypoints.EntryPoint.from_string(target, name)
    except entrypoints.BadEntryPoint:
        raise ConfigError(f"--plugin {text}: found {target!r}, expected module:Class") from None
    if not entry_point.object_name:
        raise ConfigError(f"--plugin {text}: '{target}' names a module, expected module:Class")
    return PluginRecord(kind.name, canonical(name), IN_DEVELOPMENT, "0", target, "--plugin")


def add_folder(folder: Path) -> None:
    """Put a folder of unpacked distributions at the end of `sys.path`: what is installed keeps its place.

    Raises ConfigError when the folder holds no plugin, unreadable metadata, or another version of what is installed.
    """
    if not folder.is_dir():
        raise ConfigError(f"--plugin-path {folder}: no such folder; expected one made by `pip install --target`")
    try:
        found = [ep for kind in KINDS.values() for ep in entrypoints.get_group_all(kind.group, path=[str(folder)])]
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"--plugin-path {folder}: unreadable entry_points.txt: {_first_line(error)}") from None
    if not found:
        raise ConfigError(f"--plugin-path {folder}: no distribution in it advertises a plugin (*.dist-info)")
    for dist in {ep.distro.name: ep.distro for ep in found}.values():
        try:
            installed = metadata.version(dist.name)
        except metadata.PackageNotFoundError:
            continue
        if installed != dist.version:
            raise ConfigError(
                f"--plugin-path {folder}: it holds {dist.name} {dist.version}, but {installed} is installed and "
                f"would be used.\n  pip uninstall {dist.name}, or remove it from the folder"
            )
    sys.path.append(str(folder.resolve()))


def unreadable(folders: Iterable[str]) -> list[str]:
    """`path: reason` for every entry_points.txt in the folders that the `entrypoints` parser cannot read.

    It refuses what `importlib.metadata` lets pass, such as one name written twice, always a fault of packaging.
    """
    found = []
    for folder in dict.fromkeys(folders):
        for path in sorted(Path(folder or ".").glob("*.*-info/entry_points.txt")):
            parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
            try:
                parser.read(path, encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError) as error:
                found.append(f"{path}: {_first_line(error)}")
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
