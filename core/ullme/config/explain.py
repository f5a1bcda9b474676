"""pydantic's errors in plain words, each at its place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ullme.config.fields import keys_at
from ullme.config.tree import Loc, Node, Problem
from ullme.config.words import expected, mismatch

if TYPE_CHECKING:
    from ullme.plugins.registry import Registry


@dataclass(frozen=True)
class _Located:
    """An error, the part of its path that is in the tree, and the node there.

    pydantic's path also holds what nobody wrote: the arms of a union, the long form of a short one. `stem` is the path
    at which the first such step left the tree.
    """

    entry: Mapping[str, Any]
    loc: Loc
    node: Node
    stem: Loc | None

    @property
    def expects(self) -> str | None:
        return expected(self.entry)


def explain(
    error: ValidationError,
    model: type[BaseModel],
    root: Node,
    registry: Registry,
    also: Mapping[Loc, Sequence[str]] = {},
) -> list[Problem]:
    """One problem per mistake in `root`, the tree that `model` refused. `also`: keys that composing has taken out."""
    located = [_locate(entry, root) for entry in error.errors(include_url=False)]
    problems = []
    for group in _alternatives(located):
        first = group[0]
        kind, loc, name = first.entry["type"], first.loc, str(first.entry["loc"][-1])
        place = first.node.place
        if kind == "extra_forbidden":
            keys = keys_at(model, first.entry["loc"][:-1], root, registry)
            message = _unknown(name, [*keys, *also.get(loc[:-1], ())])
            place = first.node.key or place
        elif kind == "missing":
            meaning = keys_at(model, first.entry["loc"][:-1], root, registry).get(name)
            what = "this key" if isinstance(first.entry["loc"][-1], str) else "this item"
            message = f"{what} is missing" + (f": {meaning}" if meaning else "")
            place, loc = first.node.key or place, (*loc, name)
        elif first.expects:
            message = mismatch([each.entry for each in group])
        else:
            message = _own_words(first.entry)
        problems.append(Problem(place, message, loc))
    return problems


def _locate(entry: Mapping[str, Any], root: Node) -> _Located:
    node = root
    loc: Loc = ()
    stem: Loc | None = None
    for step in entry["loc"]:
        child = node.child(step)
        if child is not None:
            node, loc = child, (*loc, step)
        elif stem is None:
            stem = loc
    if entry["type"] == "missing" and stem == loc:
        stem = None
    return _Located(entry, loc, node, stem)


def _alternatives(located: list[_Located]) -> Iterator[list[_Located]]:
    """Errors that say the same thing of one value: `text or a list` is one mistake, though pydantic reports two."""
    groups: dict[Any, list[_Located]] = {}
    for index, each in enumerate(located):
        together = (each.stem, each.loc) if each.stem is not None and each.expects else index
        groups.setdefault(together, []).append(each)
    deeper = {each.stem for each in located if each.stem is not None and len(each.loc) > len(each.stem)}
    for group in groups.values():
        # Where one arm of a union fits so well that only its inside is wrong, the others are no news.
        if not (group[0].expects and group[0].stem == group[0].loc and group[0].stem in deeper):
            yield group


def _unknown(name: str, allowed: list[str]) -> str:
    close = get_close_matches(name, allowed, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown key.{meant} Allowed: {', '.join(allowed) or 'none'}"


def _own_words(entry: Mapping[str, Any]) -> str:
    """The message of a validator, or the few of pydantic's that need no translation."""
    raised = entry.get("ctx", {}).get("error")
    return str(raised) if isinstance(raised, Exception) else str(entry["msg"]).replace("Input should be", "expected")
