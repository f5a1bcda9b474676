"""A YAML document as a tree in which every value knows where it was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ullme.errors import ConfigError
from ullme.kinds import canonical

Loc = tuple[str | int, ...]
"""The way from the root to a value: keys and list indices."""

_WIDTH = 100


@dataclass(frozen=True)
class Place:
    """Where something was written: a file with line and column (from 1), or a bare label such as `--set a=1`."""

    label: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label

    def excerpt(self) -> str:
        """The source line with a caret below it; empty where there is no line to show."""
        if not self.text.strip():
            return ""
        # A long flow mapping is shown around the caret only.
        start = max(0, self.column - _WIDTH // 2) if len(self.text) > _WIDTH else 0
        shown = self.text[start : start + _WIDTH].rstrip()
        before = self.text[start : self.column - 1]
        indent = "".join("\t" if char == "\t" else " " for char in before)
        return f"\n{self.line:>6} | {shown}\n{'':>6} | {indent}^"


@dataclass(frozen=True)
class Node:
    """A value: a dict or list of nodes, or a scalar. `key` is where the key that holds it was written."""

    value: Any
    place: Place
    key: Place | None = None

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The node under a key or index, or None."""
        found: Node | None = None
        if isinstance(self.value, dict):
            found = self.value.get(step)
        elif isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            found = self.value[step]
        return found

    def with_child(self, step: str | int, child: Node) -> Node:
        """A copy in which `step` leads to `child`."""
        if isinstance(self.value, list):
            return replace(self, value=[child if i == step else item for i, item in enumerate(self.value)])
        return replace(self, value={**self.value, step: child})

    def promoted(self) -> Node:
        """`name` written out as `{use: name}`; any other node as it is."""
        if isinstance(self.value, str):
            return replace(self, value={"use": Node(self.value, self.place)})
        return self


def from_plain(value: Any, place: Place) -> Node:
    """A tree of plain values that were all written at one place."""
    if isinstance(value, dict):
        return Node({str(key): from_plain(child, place) for key, child in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([from_plain(child, place) for child in value], place)
    return Node(value, place)


def names_another(slot: Node, use: Node | None) -> bool:
    """Whether `use` names another plugin than the mapping `slot` does, so that the fields there mean nothing to it."""
    old = slot.child("use")
    return old is not None and use is not None and canonical(str(old.value)) != canonical(str(use.value))


PINS = ("revision", "sha256")
"""What says which version of a `path` is meant, and means nothing for another path."""


def without_pins(slot: Node, path: Node | None) -> Node:
    """The mapping `slot` as a base for one with another `path`: without what pinned the old one."""
    old = slot.child("path")
    if old is None or path is None or old.value == path.value:
        return slot
    return replace(slot, value={key: child for key, child in slot.value.items() if key not in PINS})


@dataclass(frozen=True)
class Problem:
    """One mistake of the user: where it stands, the path of the value, what is wrong and what to do."""

    place: Place
    message: str
    loc: Loc = ()

    def __str__(self) -> str:
        dotted = ".".join(map(str, self.loc))
        if self.place.line:
            path = f" {dotted}:" if dotted else ""
        else:
            # An override begins with the path: saying it again would be noise.
            path = f" {dotted}:" if dotted and not self.place.label.startswith(f"--set {dotted}=") else ":"
        return f"{self.place}{path} {self.message}{self.place.excerpt()}"


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """All problems as one error: those of files in the order of their lines, then those of overrides."""

    def order(problem: Problem) -> tuple[bool, str, int, int]:
        place = problem.place
        return (False, place.label, place.line, place.column) if place.line else (True, "", 0, 0)

    ordered = sorted(problems, key=order)
    return ConfigError("\n".join(dict.fromkeys(map(str, ordered))))
