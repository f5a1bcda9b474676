"""Tables of sentence pairs or labelled texts for a local task, by split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ullme import DataError
from ullme_plugins.evaluators._files import in_folder, json_rows, text_field

Column = Literal["sentence1", "sentence2", "score", "text", "label"]
Table = dict[str, list[Any]]

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "sts": ("sentence1", "sentence2", "score"),
    "classification": ("text", "label"),
    "clustering": ("text", "label"),
    "bitext": ("sentence1", "sentence2"),
}


def table(path: Path, kind: str, fields: Mapping[Column, str], split: str | None) -> Table:
    """The columns of one split. `path` is a file, or a folder with SPLIT.jsonl.

    A file whose rows have a `split` field holds several: `split` chooses, by default `test` or the only one.
    """
    stems = [f"{split or 'test'}.jsonl", *([] if split else ["dev.jsonl", "validation.jsonl"])]
    file = in_folder(path, *stems) if path.is_dir() else path
    if file is None:
        raise DataError(f"{path}: expected {' or '.join(stems)}, plain or .gz, found none; `split` chooses another")
    tables = _by_split(file, kind, fields)
    if None in tables:
        if len(tables) > 1:
            raise DataError(f"{file}: some rows have a `split` and some have none")
        return tables[None]
    if split is None:
        split = "test" if "test" in tables or len(tables) > 1 else next(iter(tables), None)
    if split not in tables:
        found = ", ".join(sorted(map(str, tables)))
        raise DataError(f"{file}: expected rows of split {split!r}, found {found or 'an empty file'}")
    return tables[split]


def _by_split(file: Path, kind: str, fields: Mapping[Column, str]) -> dict[str | None, Table]:
    tables: dict[str | None, Table] = {}
    for where, row in json_rows(file):
        split = row.get("split")
        columns = tables.setdefault(None if split is None else str(split), {name: [] for name in _COLUMNS[kind]})
        for name in _COLUMNS[kind]:
            cells = columns[name]
            theirs = fields.get(name, name)
            if name == "score":
                cells.append(_number(row, theirs, where))
            elif name == "label":
                cells.append(_label(row, theirs, where))
            else:
                cells.append(text_field(row, theirs, where))
    return tables


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name!r}: expected a number, found {value!r}")
    return float(value)


def _label(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: {name!r}: expected text or a whole number, found {value!r}")
    return str(value)
