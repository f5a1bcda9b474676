"""Texts from a file or standard input, read line by line: checked before any model is loaded, never held as a whole."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from ullme.errors import DataError


class Texts:
    """One text a line: JSON objects with `field` if the lines are JSON (.jsonl, or `-` whose first line starts with {).

    `count` lines whose (unpacked) bytes have the digest `sha256`. Raises DataError with file and line for a line that
    is empty, not UTF-8, not an object, or lacks the field. Standard input is kept in a temporary file.
    """

    def __init__(self, name: str, field: str) -> None:
        self.path = None if name == "-" else Path(name)
        self.label = name if self.path else "standard input"
        self.field = field
        self._kept = self._kept_input() if self.path is None else None
        self._as_json = self.path is not None and ".jsonl" in self.path.suffixes
        self._stamp = self._stamped()
        digest = hashlib.sha256()
        self.count = 0
        for number, line in self._lines():
            if number == 1 and self.path is None:
                self._as_json = line.lstrip().startswith(b"{")
            self._text(number, line)
            digest.update(line)
            self.count = number
        if not self.count:
            raise DataError(f"{self.label}: no text in it")
        self.sha256 = digest.hexdigest()

    def after(self, start: int) -> Iterator[str]:
        """The texts but the first `start`. Raises DataError for a file that is not what it was."""
        for number, line in self._lines():
            if number > start:
                yield self._text(number, line)
        if self._stamped() != self._stamp:
            raise DataError(f"{self.label}: it was changed while it was read: run the command again")

    def _stamped(self) -> tuple[int, int] | None:
        try:
            about = os.stat(self.path) if self.path else None
        except OSError as exc:
            raise DataError(f"{self.label}: cannot be read: {exc.strerror}") from exc
        return about and (about.st_size, about.st_mtime_ns)

    @staticmethod
    def _kept_input() -> IO[bytes]:
        kept = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the object lives)
        shutil.copyfileobj(sys.stdin.buffer, kept)
        return kept

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            if self._kept is not None:
                self._kept.seek(0)
                yield from enumerate(self._kept, 1)
            elif self.path is not None:
                with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as file:
                    yield from enumerate(file, 1)
        except (OSError, EOFError, zlib.error) as exc:
            raise DataError(f"{self.label}: cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc

    def _text(self, number: int, line: bytes) -> str:
        place = f"{self.label}:{number}"
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DataError(f"{place}: expected UTF-8, found byte 0x{line[exc.start]:02x} at {exc.start}") from exc
        if self._as_json:
            text = _field(text, self.field, place)
        if not text.strip():
            raise DataError(f"{place}: expected a text, found an empty line")
        return text


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
