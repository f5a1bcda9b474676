"""`ullme list-plugins`: reads metadata and the index. Imports no plugin, unless asked to check them."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from difflib import get_close_matches
from typing import NamedTuple

from ullme.errors import ConfigError, UllmeError
from ullme.kinds import KINDS, kind_named
from ullme.plugins.discovery import PluginRecord, summary_of, survey, uninstalled
from ullme.plugins.registry import Registry

SUMMARY = "Installed plugins, where each comes from, and whether it can be used. Nothing of a plugin is imported."
EXAMPLE = "ullme list-plugins losses\nullme list-plugins --check\nullme list-plugins --requirements > plugins.txt"


class Row(NamedTuple):
    """One line of the table."""

    kind: str
    name: str
    source: str
    status: str
    summary: str


HEAD = Row("kind", "name", "from", "status", "summary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ullme list-plugins`."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"only this kind: {', '.join(KINDS)}")
    parser.add_argument("--available", action="store_true", help="also those that are known but not installed")
    parser.add_argument("--check", action="store_true", help="import each one; exit code 1 if any fails")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with version, origin and target")
    form.add_argument("--requirements", action="store_true", help="the distributions, as lines for pip install -r")


def run(args: argparse.Namespace) -> int:
    """List, and return 1 if `--check` found a plugin that cannot be used."""
    kind = _kind(args.kind)
    records, faults = survey()
    registry = Registry(records)
    shown = [record for record in records if kind in (None, record.kind)]
    statuses = {record: registry.status(record) for record in shown}
    failed = _import_all(statuses) if args.check else False
    for fault in faults:
        print(f"note: {fault.where} cannot be read: {fault.problem}", file=sys.stderr)

    if args.requirements:
        print("\n".join(sorted({_requirement(record) for record in shown})))
    elif args.json:
        _print_json(registry, statuses, kind, args.available)
    else:
        rows = [_row(registry, record, status) for record, status in statuses.items()]
        rows += _available(registry, kind) if args.available else []
        print("\n".join(_table(sorted(rows))) if rows else _nothing(kind))
    return 1 if failed or (args.check and faults) else 0


def _kind(text: str | None) -> str | None:
    if text is None:
        return None
    if found := kind_named(text):
        return found.name
    meant = "".join(f" Did you mean '{close}'?" for close in get_close_matches(text, KINDS, n=1))
    raise ConfigError(f"unknown kind '{text}'.{meant}\n  Kinds: {', '.join(KINDS)}")


def _import_all(statuses: dict[PluginRecord, str]) -> bool:
    """Import what can be imported and note what cannot in `statuses`; whether any plugin cannot be used."""
    from ullme.config.presets import check
    from ullme.plugins.loading import load_class

    failed = False
    for record, status in statuses.items():
        if record.problem or status.startswith("refused"):
            failed = True
            continue
        try:
            (load_class if KINDS[record.kind].interface else check)(record)
        except UllmeError as error:
            failed = True
            statuses[record] = "fails: " + str(error).splitlines()[0].removeprefix(str(record)).strip(" :")
    return failed


def _row(registry: Registry, record: PluginRecord, status: str) -> Row:
    entry = registry.index.find(record.kind, record.name, record.dist)
    summary = entry.summary if entry else summary_of(record.dist)
    note = "" if record.origin == "index" else f" ({_short(record.origin)})"
    return Row(record.kind, record.name, f"{record.dist} {record.version}{note}", status, summary)


def _short(origin: str) -> str:
    """The kind of origin in a word; `--json` has it in full."""
    for start, word in (("editable", "editable"), ("file:", "local folder"), ("--", origin)):
        if origin.startswith(start):
            return word
    return origin.partition("+")[0] if "+" in origin.partition("://")[0] else "URL"


def _available(registry: Registry, kind: str | None) -> list[Row]:
    """Known plugins of distributions that are not here."""
    here = {(record.kind, record.name, record.dist) for record in registry.records}
    entries = (e for e in registry.index.entries if kind in (None, e.kind) and (e.kind, e.name, e.dist) not in here)
    return [Row(e.kind, e.name, e.dist, f"pip install {e.dist}", e.summary) for e in entries]


def _table(rows: list[Row]) -> list[str]:
    widths = [max(len(row[column]) for row in [HEAD, *rows]) for column in range(4)]
    # Cut only what a person looks at; a pipe gets every word.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = []
    for row in [HEAD, *rows]:
        cells = [cell.ljust(size) for cell, size in zip(row, widths, strict=False)]
        line = "  ".join([*cells, row.summary]).rstrip()
        lines.append(line[: width - 1] + "…" if width and len(line) > width else line)
    return lines


def _print_json(registry: Registry, statuses: dict[PluginRecord, str], kind: str | None, available: bool) -> None:
    import json
    from dataclasses import asdict

    items = [
        {**asdict(record), "status": status, "summary": _row(registry, record, status).summary}
        for record, status in statuses.items()
    ]
    keys = ("kind", "name", "dist", "status", "summary")
    items += [dict(zip(keys, row, strict=True)) for row in (_available(registry, kind) if available else ())]
    print(json.dumps(items, indent=2))


def _requirement(record: PluginRecord) -> str:
    if record.origin == "index":
        return f"{record.dist}=={record.version}"
    if record.origin.startswith("editable "):
        return "-e " + record.origin.removeprefix("editable ")
    if record.origin.startswith("--"):
        return f"# {record.kind} {record.name} was given by {record.origin} {record.target}"
    return f"{record.dist} @ {record.origin}"


def _nothing(kind: str | None) -> str:
    what = f"No {kind} plugins are" if kind else "No plugins are"
    why = uninstalled() or (
        f"No distribution of this Python ({os.path.realpath(sys.prefix)}) has entry points in the groups ullme.*.\n"
        "  ullme list-plugins --available   shows the known ones"
    )
    return f"{what} installed.\n{why}"
