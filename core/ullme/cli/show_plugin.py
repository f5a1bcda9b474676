"""`ullme show-plugin`: everything about one plugin. Imports that plugin's declaration and nothing else."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.errors import ConfigError
from ullme.kinds import KINDS, kind_named
from ullme.plugins.discovery import PluginRecord
from ullme.plugins.registry import Registry

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SUMMARY = "What one plugin does, its settings with their defaults and limits, its source and its paper."
EXAMPLE = "ullme show-plugin pooler NAME\nullme show-plugin loss DISTRIBUTION:NAME\nullme show-plugin preset NAME"

# How the limits that pydantic keeps on a field are written for a reader.
_LIMITS = {
    "gt": "> {}",
    "ge": ">= {}",
    "lt": "< {}",
    "le": "<= {}",
    "multiple_of": "multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matches {}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ullme show-plugin`."""
    parser.add_argument("kind", metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("name", metavar="NAME", help="as in YAML: NAME or DISTRIBUTION:NAME")


def run(args: argparse.Namespace) -> int:
    """Print the plugin. Raises UllmeError when it is unknown or cannot be imported."""
    kind = kind_named(args.kind)
    if kind is None:
        raise ConfigError(f"unknown kind '{args.kind}'.\n  Kinds: {', '.join(KINDS)}")
    registry = Registry()
    if kind.interface is None:
        from ullme.cli.show_preset import show

        return show(registry, registry.resolve(kind.name, args.name))
    cls = registry.load(kind.name, args.name)
    record = registry.resolve(kind.name, args.name)

    print(f"{record.kind} {record.name}\n")
    print(textwrap.indent(inspect.getdoc(cls) or "(no docstring)", "  ") + "\n")
    print_facts(facts(registry, record, _source(cls)))
    print("\n  settings" if cls.Config.model_fields else "\n  no settings")
    for line in _settings(cls.Config.model_fields):
        print(f"    {line}")
    return 0


def facts(registry: Registry, record: PluginRecord, source: str) -> dict[str, str]:
    """What metadata and index say of a plugin whose code, or file, is at `source`."""
    entry = registry.index.find(record.kind, record.name, record.dist)
    found = {
        "from": f"{record.dist} {record.version} ({record.origin})",
        "target": record.target,
        "source": source,
        "status": registry.status(record),
    }
    if entry is not None:
        optional = {"paper": entry.paper, "aliases": ", ".join(entry.aliases), "since": entry.since}
        found |= {label: value for label, value in optional.items() if value}
    return found


def print_facts(found: dict[str, str]) -> None:
    """One line each, aligned; further lines of a value under its first."""
    width = max(map(len, found))
    for label, value in found.items():
        print(f"  {label:{width}}  " + value.replace("\n", "\n" + " " * (width + 4)))


def relative(path: Path) -> Path:
    """`path` from here, if it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _source(cls: type[Any]) -> str:
    return f"{relative(Path(inspect.getfile(cls)))}:{inspect.getsourcelines(cls)[1]}"


def _settings(fields: dict[str, FieldInfo]) -> list[str]:
    """Aligned lines: name, type, default, and limits with the description."""
    rows = [(name, _type(field), _default(field), _notes(field)) for name, field in fields.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    return [
        "  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]


def _type(field: FieldInfo) -> str:
    return inspect.formatannotation(field.annotation)


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"= {field.get_default(call_default_factory=True)!r}"


def _notes(field: FieldInfo) -> str:
    limits = [
        text.format(value)
        for constraint in field.metadata
        for key, text in _LIMITS.items()
        if (value := getattr(constraint, key, None)) is not None
    ]
    return "; ".join([*limits, field.description] if field.description else limits)
