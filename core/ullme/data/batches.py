"""Batches as people's own loaders give them, as examples."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ullme.data.groups import grouped
from ullme.errors import DataError
from ullme.types import Example

_NAMES = {
    "query": "query",
    "positive": "positives",
    "positives": "positives",
    "negative": "negatives",
    "negatives": "negatives",
    "instruction": "instruction",
    "id": "id",
    "group": "group",
}
_IGNORED = ("cluster",)
"""Columns of the paper's own data that say something about sampling batches, not about a row."""


def collate(rows: Sequence[Mapping[str, Any] | Example]) -> list[Example]:
    """Rows `{"query", "positive", "negative"}` as examples: the `collate_fn` of a torch DataLoader.

    A query has one positive or a list, and may have negatives, an `instruction`, an `id`, a `group`. Raises DataError.
    """
    return [row if isinstance(row, Example) else _example(row, f"row {number}") for number, row in enumerate(rows)]


def as_examples(batch: Any) -> list[Example]:
    """A batch in any of its forms: examples, rows, or columns `{"query": [...], "positive": [[...], ...], ...}`.

    Rows that share a passage get one group, so that neither is taken for a negative of the other. Raises DataError.
    """
    if isinstance(batch, Mapping):
        batch = _rows(batch)
    if isinstance(batch, str) or not isinstance(batch, Iterable):
        raise DataError(f"a batch: expected rows or columns of texts, found {type(batch).__name__}")
    examples = collate(list(batch))
    if not examples:
        raise DataError("a batch: expected at least one row, found none")
    return grouped([replace(row, id=row.id or f"row {number}") for number, row in enumerate(examples)])


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name, cells in columns.items():
        if not isinstance(cells, list | tuple):
            raise DataError(
                f"a batch: column {name!r}: expected a list with one entry a query, found {type(cells).__name__}"
            )
        # torch's own collation turns lists of passages round, first passages first, and makes tuples of them.
        if _NAMES.get(name) in ("positives", "negatives") and any(isinstance(cell, tuple) for cell in cells):
            raise DataError(
                f"a batch: column {name!r} went through torch's default collation, which mixes passages of different"
                " queries.\n  Give the DataLoader `collate_fn=ullme.trainer.collate`."
            )
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"a batch: columns of different lengths: {lengths}; expected one entry a query in each")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _example(row: Any, where: str) -> Example:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected a mapping with query and positive, found {type(row).__name__}")
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in _IGNORED:
            continue
        if key not in _NAMES:
            close = difflib.get_close_matches(str(key), _NAMES, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise DataError(f"{where}: unknown column {key!r}.{meant} Known: {', '.join(_NAMES)}")
        if _NAMES[key] in found:
            raise DataError(f"{where}: two columns hold its {_NAMES[key]}")
        found[_NAMES[key]] = value
    query = found.get("query")
    if not isinstance(query, str) or not query.strip():
        raise DataError(f"{where}: query: expected text, found {query!r}")
    positives = _texts(found.get("positives"), where, "positive")
    if not positives:
        raise DataError(f"{where}: expected at least one positive passage, found none")
    rest = {key: str(found[key]) for key in ("instruction", "id", "group") if found.get(key) is not None}
    return Example(query, positives, _texts(found.get("negatives"), where, "negative"), **rest)


def _texts(value: Any, where: str, name: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value or ())
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: {name}: expected text, found {text!r}")
    return texts
