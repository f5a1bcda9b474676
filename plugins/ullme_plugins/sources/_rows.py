"""From one row of any table to an `Example`, with messages that name the row."""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ullme import DataError, DataSource, Example

Name = Literal["query", "positives", "negatives", "instruction", "id", "group"]


class RowConfig(DataSource.Config):
    """The keys that every source made of rows shares."""

    fields: dict[Name, str | None] = Field(
        {}, description="the file's name for each of ours, dotted where nested; null reads nothing"
    )
    instruction: str = Field("", description="instruction of rows that bring none")


class RowReader:
    """Turns rows into examples. Where `fields` is silent, a name stands for itself (`positive`, `negative` too)."""

    _DEFAULTS: ClassVar[dict[Name, tuple[str, ...]]] = {
        "query": ("query",),
        "positives": ("positives", "positive"),
        "negatives": ("negatives", "negative"),
        "instruction": ("instruction",),
        "id": ("id",),
        "group": ("group",),
    }

    def __init__(self, config: RowConfig) -> None:
        self._instruction = config.instruction
        self._fields = config.fields
        self._unseen = {theirs for theirs in config.fields.values() if theirs}

    def example(self, row: Any, where: str) -> Example:
        """The example of one row. Raises DataError starting with `where`."""
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: expected an object with a query and positives, found {_kind(row)}")
        query = self._texts(row, "query", where, required=True, many=False)
        positives = self._texts(row, "positives", where, required=True)
        negatives = self._texts(row, "negatives", where)
        contradiction = set(positives) & set(negatives)
        if contradiction:
            raise DataError(f"{where}: a passage is both positive and negative: {_shown(contradiction.pop())}")
        instruction = self._texts(row, "instruction", where, many=False) or (self._instruction,)
        return Example(
            query[0],
            positives,
            negatives,
            instruction[0],
            self._label(row, "id", where),
            self._label(row, "group", where),
        )

    def finish(self, where: str) -> None:
        """To be called after the last row. Raises DataError for a field named in the YAML that no row had."""
        if self._unseen:
            raise DataError(f"{where}: no row has {' or '.join(map(repr, sorted(self._unseen)))}, named in `fields:`")

    def _texts(
        self, row: Mapping[str, Any], name: Name, where: str, *, required: bool = False, many: bool = True
    ) -> tuple[str, ...]:
        theirs, value = self._value(row, name)
        if value is None or value == []:
            if not required:
                return ()
            raise DataError(self._missing(row, name, where, theirs))
        values = value if many and isinstance(value, list) else [value]
        for text in values:
            if not isinstance(text, str):
                expected = "text or a list of texts" if many else "text"
                raise DataError(f"{where}: {theirs!r}: expected {expected}, found {_kind(text)} {_shown(text)}")
            if not text.strip():
                raise DataError(f"{where}: {theirs!r}: expected text, found an empty one")
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise DataError(f"{where}: {theirs!r}: expected Unicode text, found half of a surrogate pair")
        return tuple(values)

    def _label(self, row: Mapping[str, Any], name: Name, where: str) -> str:
        theirs, value = self._value(row, name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(
                f"{where}: {theirs!r}: expected text or a whole number, found {_kind(value)} {_shown(value)}"
            )
        return str(value)

    def _value(self, row: Mapping[str, Any], name: Name) -> tuple[str, Any]:
        """The row's name for `name`, and its value; None where it has none."""
        names = self._DEFAULTS[name]
        if name in self._fields:
            mapped = self._fields[name]
            names = (mapped,) if mapped else ()
        for theirs in names:
            value = row[theirs] if theirs in row else _nested(row, theirs.split("."))
            if value is not None:
                self._unseen.discard(theirs)
                return theirs, value
        return names[0] if names else name, None

    def _missing(self, row: Mapping[str, Any], name: Name, where: str, theirs: str) -> str:
        if theirs in row:
            return f"{where}: {theirs!r} ({name}): expected text, found {_shown(row[theirs])}"
        keys = [str(key) for key in row]
        close = difflib.get_close_matches(theirs, keys, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return (
            f"{where}: expected the field {theirs!r} ({name}), found {', '.join(map(repr, keys)) or 'none'}.{hint}\n"
            f"  Say which field it is:  fields: {{{name}: {close[0] if close else 'NAME'}}}"
        )


def _nested(value: Any, path: list[str]) -> Any:
    """`a.b` in {"a": {"b": 1}}; in a list of objects, the list of what each has there."""
    for place, key in enumerate(path):
        if isinstance(value, list):
            found = [_nested(item, path[place:]) for item in value]
            return None if None in found else found
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
