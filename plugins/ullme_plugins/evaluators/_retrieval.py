"""Retrieval data: queries, passages and which answers which, from a BEIR folder or the rows of a data source."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from pathlib import Path

from ullme import DataError, Example
from ullme_plugins.evaluators._files import in_folder, json_rows, text_field, text_lines


@dataclass(frozen=True)
class Retrieval:
    """`queries` and `corpus` map ids to texts, `relevant` query ids to passage ids and grades above 0.

    `instructions` maps the text of a query to its own instruction, where it has one.
    """

    where: str
    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, dict[str, int]]
    titles: dict[str, str] = field(default_factory=dict)
    instructions: dict[str, str] = field(default_factory=dict)

    def sampled(self, queries: int | None, corpus: int | None, seed: int) -> Retrieval:
        """The first `queries` by hash, over their passages and further ones, by hash, up to `corpus`.

        Raises DataError when there are fewer queries.
        """
        if queries is not None and queries > len(self.queries):
            raise DataError(f"{self.where}: queries: {queries} asks for more than the {len(self.queries)} there are")
        asked = _lowest(self.queries, len(self.queries) if queries is None else queries, seed)
        needed = {passage for query in asked for passage in self.relevant[query]}
        if corpus is None:
            kept = set(self.corpus)
        else:
            others = [passage for passage in self.corpus if passage not in needed]
            kept = needed | _lowest(others, max(0, corpus - len(needed)), seed)
        return replace(
            self,
            queries={name: text for name, text in self.queries.items() if name in asked},
            corpus={name: text for name, text in self.corpus.items() if name in kept},
            relevant={name: grades for name, grades in self.relevant.items() if name in asked},
        )


def from_examples(where: str, examples: Iterable[Example]) -> Retrieval:
    """One query per distinct query text, over every passage of the rows, positive or negative.

    Rows with the same query text are one query, answered by the passages of all of them.
    """
    data = Retrieval(where, {}, {}, {})
    for row in examples:
        query = _key(row.query)
        data.queries.setdefault(query, row.query)
        if row.instruction:
            data.instructions.setdefault(data.queries[query], row.instruction)
        for text in (*row.positives, *row.negatives):
            data.corpus.setdefault(_key(text), text)
        data.relevant.setdefault(query, {}).update({_key(text): 1 for text in row.positives})
    return data


def from_folder(folder: Path, split: str | None) -> Retrieval:
    """A folder in BEIR's form: corpus.jsonl, queries.jsonl, and qrels/SPLIT.tsv, qrels_SPLIT.tsv or qrels.tsv.

    Queries without a relevant passage are left out. Raises DataError naming file and line of what cannot be used.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with corpus.jsonl, queries.jsonl and qrels, found a file")
    titles: dict[str, str] = {}
    corpus = _texts(folder, "corpus.jsonl", titles)
    queries = _texts(folder, "queries.jsonl", {})
    qrels = _qrels_file(folder, split)
    relevant: dict[str, dict[str, int]] = {}
    for number, (where, line) in enumerate(text_lines(qrels)):
        cells = line.split("\t")
        if number == 0 and cells[:2] == ["query-id", "corpus-id"]:
            continue
        if len(cells) != 3 or not re.fullmatch(r"-?\d+", cells[2].strip()):
            raise DataError(f"{where}: expected query-id, corpus-id and a whole number, tab-separated, found {line!r}")
        query, passage, grade = cells[0], cells[1], int(cells[2])
        for name, known, file in ((query, queries, "queries"), (passage, corpus, "corpus")):
            if name not in known:
                raise DataError(f"{where}: expected an id of {file}.jsonl, found {name!r}")
        if grade > 0:
            relevant.setdefault(query, {})[passage] = grade
    if not relevant:
        raise DataError(f"{qrels}: no query has a relevant passage")
    asked = {name: text for name, text in queries.items() if name in relevant}
    return Retrieval(str(folder), asked, corpus, relevant, titles)


def _texts(folder: Path, name: str, titles: dict[str, str]) -> dict[str, str]:
    file = in_folder(folder, name)
    if file is None:
        raise DataError(f"{folder}: expected {name} or {name}.gz, found {_listing(folder)}")
    texts: dict[str, str] = {}
    for where, row in json_rows(file):
        key = text_field(row, "_id", where)
        if key in texts:
            raise DataError(f"{where}: the id {key!r} was used before")
        texts[key] = text_field(row, "text", where)
        if row.get("title"):
            titles[key] = text_field(row, "title", where)
    return texts


def _qrels_file(folder: Path, split: str | None) -> Path:
    wanted = ["test"] if split is None else [split]
    stems = [stem for name in wanted for stem in (f"qrels/{name}.tsv", f"qrels_{name}.tsv", f"qrels-{name}.tsv")]
    found = in_folder(folder, *stems)
    if found is None and split is None:
        files = sorted([*folder.glob("qrels*.tsv*"), *folder.glob("qrels/*.tsv*")])
        found = files[0] if len(files) == 1 else None
    if found is None:
        raise DataError(f"{folder}: expected one of {', '.join(stems)}, found {_listing(folder)}; `split` chooses one")
    return found


def _listing(folder: Path) -> str:
    names = [path.relative_to(folder).as_posix() for path in (*folder.iterdir(), *folder.glob("qrels/*"))]
    return ", ".join(sorted(names)) or "an empty folder"


def _key(text: str) -> str:
    """An id by content: texts that differ in white space only are one text."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).hexdigest()


def _lowest(names: Iterable[str], count: int, seed: int) -> set[str]:
    return set(nsmallest(count, names, key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode()).digest()))
