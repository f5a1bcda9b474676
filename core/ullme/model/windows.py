"""Texts in windows: tokenised ahead of the model, each distinct one planned once, in length-sorted batches."""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from queue import Full, Queue
from typing import TypeVar, cast

from ullme.errors import DataError
from ullme.model.tokens import Tokens, chunks

T = TypeVar("T")
Tokenise = Callable[[Sequence[str]], list[Tokens]]

WINDOW = 16384
"""Texts sorted together: enough for padding of a percent or two, few enough to hold their tokens."""
_PIECE = 1024  # texts tokenised in one go, so that character offsets of a whole window are never held


@dataclass(frozen=True)
class Batch:
    """One model call: tokens of texts, their numbers, and how many texts of the window it answers."""

    rows: list[int]
    tokens: list[Tokens]
    texts: int


@dataclass(frozen=True)
class Window:
    """Texts `start` to `start + len(first)`. Text start + i has the vector of text `first[i]`, itself or one before."""

    start: int
    first: list[int]
    batches: list[Batch]


def windows(
    texts: Iterable[str], tokenise: Tokenise, budget: int, *, start: int = 0, size: int = WINDOW, across: bool = False
) -> Iterator[Window]:
    """The windows of `texts`, numbered from `start`; with `across`, a text of an earlier window counts as seen.

    Raises DataError, with the number of the text, for one that is empty or that the template refuses.
    """
    source = iter(texts)
    seen: dict[bytes, int] = {}
    while held := list(islice(source, size)):
        tokens = [made for at in range(0, len(held), _PIECE) for made in _checked(held, at, start, tokenise)]
        if not across:
            seen = {}
        first = [seen.setdefault(_key(made), start + i) for i, made in enumerate(tokens)]
        alike = Counter(first)
        new = [i for i, number in enumerate(first) if number == start + i]
        plan = chunks([len(tokens[i]) for i in new], budget)
        batches = [
            Batch(
                [start + new[j] for j in rows], [tokens[new[j]] for j in rows], sum(alike[start + new[j]] for j in rows)
            )
            for rows in plan
        ]
        yield Window(start, first, batches)
        start += len(held)


def _key(made: Tokens) -> bytes:
    """What the vector of a text depends on: ids and which are pooled. 16 bytes, so that a million cost little."""
    return blake2b(array("q", made.ids).tobytes() + bytes(made.pool), digest_size=16).digest()


def _checked(held: Sequence[str], at: int, start: int, tokenise: Tokenise) -> list[Tokens]:
    piece = held[at : at + _PIECE]
    for number, text in enumerate(piece, start + at):
        if not text.strip():
            raise DataError(f"text {number} is empty: there is nothing to embed")
    try:
        return tokenise(piece)
    except DataError:
        for number, text in enumerate(piece, start + at):
            try:
                tokenise([text])
            except DataError as exc:
                raise DataError(f"text {number}: {exc}") from exc
        raise


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """`items`, made in a thread of their own, at most `depth` of them waiting. Errors come out where they are met."""
    queue: Queue[tuple[bool, object]] = Queue(depth)
    stop = threading.Event()

    def offer(kind: bool, what: object) -> None:
        while not stop.is_set():
            try:
                queue.put((kind, what), timeout=0.1)
                break
            except Full:
                pass

    def work() -> None:
        try:
            for item in items:
                offer(True, item)
                if stop.is_set():
                    return
            offer(False, None)
        except BaseException as exc:
            offer(False, exc)

    thread = threading.Thread(target=work, name="ullme-tokenise", daemon=True)
    thread.start()
    try:
        while True:
            kind, what = queue.get()
            if not kind:
                if isinstance(what, BaseException):
                    raise what
                return
            yield cast(T, what)
    finally:
        stop.set()
        thread.join(timeout=1)  # it looks at `stop` between items; a daemon does not hold up the end of the process
