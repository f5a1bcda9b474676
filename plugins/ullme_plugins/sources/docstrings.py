"""Pairs from the documentation of Python code: summary sentence -> rest of the docstring."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

from pydantic import Field, model_validator

from ullme import DataError, DataSource, Example
from ullme_plugins.sources._docstrings import docstrings, pair
from ullme_plugins.sources._pyfiles import folder_files, package_files

_log = logging.getLogger(__name__)
_MIN_QUERY_WORDS = 3


class Docstrings(DataSource):
    """Docstrings of installed packages, of the standard library, or of your own code, read with `ast`, never imported.

    Hard negatives are docstrings of the same module or, where it has too few, of the packages around it. A summary that
    occurs twice is used once. Files that are not valid Python are skipped, counted and logged.
    """

    class Config(DataSource.Config):
        packages: list[str] = Field([], description="installed packages by import or distribution name, or `stdlib`")
        path: str | None = Field(None, description="folder of Python code")
        max_files: int | None = Field(None, gt=0, description="read at most this many files, chosen by hash")
        min_words: int = Field(8, ge=1, description="skip docstrings whose rest is shorter")
        hard_negatives: int = Field(1, ge=0, description="negatives per row from the same module")

        @model_validator(mode="after")
        def _something_to_read(self) -> "Docstrings.Config":
            if not self.packages and not self.path:
                raise ValueError("nothing to read: give packages (such as [numpy, stdlib]) or path (a folder of code)")
            return self

    def examples(self) -> Iterator[Example]:
        """Rows by module name, then in the order of the file. The id is `module:qualified.name`."""
        rows = list(self._pairs())
        near = _Neighbours(rows)
        for place, row in enumerate(rows):
            yield replace(row, negatives=near.draw(place, self.config.hard_negatives, self.config.seed))

    def _pairs(self) -> Iterator[Example]:
        ids: set[str] = set()
        queries: set[str] = set()
        broken: list[Path] = []
        for module, file in self._files():
            try:
                found = list(docstrings(file.read_bytes()))
            except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
                broken.append(file)
                continue
            for name, text in found:
                row = _example(f"{module}:{name}", text, self.config.min_words)
                if row and row.id not in ids and row.query.casefold() not in queries:
                    ids.add(row.id)
                    queries.add(row.query.casefold())
                    yield row
        if broken:
            _log.warning("docstrings: skipped %d files that cannot be parsed, such as %s", len(broken), broken[0])

    def _files(self) -> list[tuple[str, Path]]:
        files: list[tuple[str, Path]] = []
        if self.config.path is not None:
            folder = Path(self.config.path).expanduser()
            if not folder.is_dir():
                raise DataError(f"path: expected a folder of Python code, found no folder at {self.config.path!r}")
            files += folder_files(folder)
        for name in self.config.packages:
            files += package_files(name)
        files = sorted(set(files))
        if self.config.max_files is not None:
            files = sorted(sorted(files, key=lambda item: sha256(item[0].encode()).digest())[: self.config.max_files])
        return files


def _example(name: str, text: str, min_words: int) -> Example | None:
    texts = pair(text)
    if texts is None or len(texts[0].split()) < _MIN_QUERY_WORDS or len(texts[1].split()) < min_words:
        return None
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, written as an escape
        return None
    return Example(texts[0], (texts[1],), id=name)


class _Neighbours:
    """Rows by module and by every package around it."""

    def __init__(self, rows: list[Example]) -> None:
        self._rows = rows
        self._inside: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            for package in _around(row):
                self._inside[package].append(place)

    def draw(self, place: int, count: int, seed: int) -> tuple[str, ...]:
        """Up to `count` passages that differ from the row's own, from as near as possible; seed and id decide."""
        row = self._rows[place]
        rng = Random(f"{seed} {row.id}")
        drawn: dict[str, None] = {}
        for package in _around(row):
            candidates = self._inside[package]
            # A few more than needed: some may repeat the row's own passage or one drawn before.
            for other in rng.sample(candidates, min(len(candidates), count + len(drawn) + 8)):
                text = self._rows[other].positives[0]
                if len(drawn) < count and text not in row.positives:
                    drawn[text] = None
            if len(drawn) >= count:
                break
        return tuple(drawn)


def _around(row: Example) -> list[str]:
    """The row's module, the packages around it, and at last everything."""
    module = row.id.partition(":")[0].split(".")
    return [".".join(module[:depth]) for depth in range(len(module), -1, -1)]
