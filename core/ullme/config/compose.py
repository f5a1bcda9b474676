"""One file becomes one tree: `extends`, then `--set`, then `${...}`.

Relative paths inside a file stay as they are written: they are relative to the working directory of the command, as on
a command line. Only `extends` is relative to the file that says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ullme.config.interpolate import interpolate
from ullme.config.override import override
from ullme.config.source import read
from ullme.config.tree import Node, Problem, config_error, names_another
from ullme.errors import ConfigError


@dataclass(frozen=True)
class Document:
    """A composed tree and what is wrong with it so far."""

    root: Node
    problems: list[Problem]


def compose(path: Path, overrides: Sequence[str] = ()) -> Document:
    """The tree of `path`. Raises ConfigError if a file cannot be read at all; lesser problems are collected."""
    problems: list[Problem] = []
    root = _extended(path, (), problems)
    for text in overrides:
        root = override(root, text, problems)
    return Document(interpolate(root, problems), problems)


def _extended(path: Path, chain: tuple[Path, ...], problems: list[Problem]) -> Node:
    own = read(path, problems)
    entry = own.value.get("extends")
    own = replace(own, value={key: child for key, child in own.value.items() if key != "extends"})
    base: Node | None = None
    for parent in _parents(entry, problems):
        target = path.parent / parent.value
        route = (*chain, path)
        if any(target.resolve() == seen.resolve() for seen in route):
            cycle = " -> ".join(map(str, (*route, target)))
            message = f"files extend each other in a cycle: {cycle}"
            raise config_error([*problems, Problem(parent.place, message, ("extends",))])
        try:
            tree = _extended(target, route, problems)
        except ConfigError as error:
            # A file that is not there is the fault of the line that names it; any other says its own place.
            if target.is_file():
                raise
            raise config_error([*problems, Problem(parent.place, str(error), ("extends",))]) from None
        base = tree if base is None else merge(base, tree)
    return own if base is None else merge(base, own)


def _parents(entry: Node | None, problems: list[Problem]) -> list[Node]:
    if entry is None:
        return []
    named: list[Node] = entry.value if isinstance(entry.value, list) else [entry]
    for node in named:
        if not isinstance(node.value, str):
            problems.append(Problem(node.place, "expected a file name or a list of file names", ("extends",)))
    return [node for node in named if isinstance(node.value, str)]


def merge(base: Node, top: Node, *, slots: bool = True) -> Node:
    """`top` over `base`: mappings merge, anything else is replaced, and so is a slot that names another plugin.

    `slots=False` below `vars`, where text is text and never short for `{use: text}`.
    """
    if slots and isinstance(base.value, dict) and "use" in base.value:
        top = top.promoted()
    elif slots and isinstance(top.value, dict):
        base = base.promoted()
    if not (isinstance(base.value, dict) and isinstance(top.value, dict)) or names_another(base, top.child("use")):
        return top
    merged = dict(base.value)
    for key, child in top.value.items():
        merged[key] = merge(merged[key], child, slots=slots and key != "vars") if key in merged else child
    return replace(top, value=merged)
