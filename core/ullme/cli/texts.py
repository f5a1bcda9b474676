"""Texts from a file or standard input, each line checked before any model is loaded."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ullme.errors import DataError


def read_texts(name: str, field: str) -> list[str]:
    """One text a line: JSON objects with `field` if the lines are JSON (.jsonl, or `-` whose first line starts with {).

    Raises DataError with file and line for a line that is empty, not UTF-8, not an object, or lacks the field.
    """
    label = "standard input" if name == "-" else name
    lines = list(_lines(name, label))
    if not lines:
        raise DataError(f"{label}: no text in it")
    suffixes = Path(name).suffixes
    as_json = ".jsonl" in suffixes or (name == "-" and lines[0].lstrip().startswith("{"))
    texts = [_field(line, field, f"{label}:{n}") if as_json else line for n, line in enumerate(lines, 1)]
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise DataError(f"{label}:{number}: expected a text, found an empty line")
    return texts


def _lines(name: str, label: str) -> Iterator[str]:
    path = Path(name)
    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        elif path.suffix == ".gz":
            data = gzip.decompress(path.read_bytes())
        else:
            data = path.read_bytes()
    except (OSError, EOFError) as exc:
        raise DataError(f"{label}: cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], 1):
        try:
            yield line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DataError(
                f"{label}:{number}: expected UTF-8, found byte 0x{line[exc.start]:02x} at {exc.start}"
            ) from exc


def _field(line: str, field: str, place: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as exc:
        raise DataError(
            f"{place}: expected a JSON object, found {line[:40]!r} ({exc.msg} at column {exc.colno})"
        ) from exc
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, found {line[:40]!r}")
    if field not in row:
        close = get_close_matches(field, row, n=1)
        hint = (
            f"did you mean --field {close[0]}?" if close else f"its fields are {', '.join(row)}: name one with --field"
        )
        raise DataError(f"{place}: no field {field!r}; {hint}")
    if not isinstance(row[field], str):
        raise DataError(f"{place}: expected {field!r} to be a text, found {row[field]!r:.40}")
    return str(row[field])
