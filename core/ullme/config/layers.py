"""Files laid over files: what `extends` names, and the rules by which one tree is laid over another."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ullme.config.source import read
from ullme.config.tree import Loc, Node, Problem, config_error, names_another, without_pins
from ullme.errors import ConfigError, UllmeError

if TYPE_CHECKING:
    from ullme.plugins.registry import Registry

PRESET = "preset"
"""The kind that `model.preset` and `extends: preset:NAME` name."""

ABOUT, AS_PUBLISHED = "about", "as-published"
"""What a preset's file says of itself, which is no part of a pipeline."""


class Reader:
    """Reads files and presets with everything that they extend. Lesser mistakes are collected in `problems`."""

    def __init__(self, problems: list[Problem], registry: Registry | None = None) -> None:
        self.problems = problems
        self._given = registry

    @cached_property
    def registry(self) -> Registry:
        """Made when the first preset is named: most pipelines name none."""
        if self._given is not None:
            return self._given
        from ullme.plugins.registry import Registry

        return Registry()

    def file(self, path: Path, chain: tuple[Path, ...] = ()) -> Node:
        """The tree of a file, laid over those of the files and presets that it extends; `chain` led here."""
        own = read(path, self.problems)
        entry = own.value.get("extends")
        own = replace(own, value={key: child for key, child in own.value.items() if key != "extends"})
        base: Node | None = None
        for parent in self._parents(entry):
            if parent.value.startswith(f"{PRESET}:"):
                tree = self._recipe(parent, (*chain, path))
                base = tree if base is None else _together(base, tree)
            else:
                tree = self._extended(path.parent / parent.value, parent, (*chain, path))
                base = tree if base is None else merge(base, tree)
        return own if base is None else merge(base, own)

    def preset(self, name: Node, loc: Loc, chain: tuple[Path, ...] = ()) -> Node:
        """The whole tree of the preset that `name`, at `loc`, names. Raises ConfigError there if there is none."""
        try:
            target = self.registry.file(PRESET, name.value)
        except UllmeError as error:
            raise self.error(name, str(error), loc) from None
        return self._extended(target, name, chain)

    def error(self, node: Node, message: str, loc: Loc = ()) -> ConfigError:
        """A mistake after which there is nothing to go on with, and those collected so far."""
        return config_error([*self.problems, Problem(node.place, message, loc)])

    def _extended(self, target: Path, named: Node, chain: tuple[Path, ...]) -> Node:
        if any(target.resolve() == seen.resolve() for seen in chain):
            cycle = " -> ".join(map(str, (*chain, target)))
            message = f"files extend each other in a cycle: {cycle}"
            raise self.error(named, message, ("extends",))
        try:
            return self.file(target, chain)
        except ConfigError as error:
            # A file that is not there is the fault of the line that names it; any other says its own place.
            if target.is_file():
                raise
            raise self.error(named, str(error), ("extends",)) from None

    def _parents(self, entry: Node | None) -> list[Node]:
        if entry is None:
            return []
        named: list[Node] = entry.value if isinstance(entry.value, list) else [entry]
        for node in named:
            if not isinstance(node.value, str):
                message = "expected a file name or a list of file names"
                self.problems.append(Problem(node.place, message, ("extends",)))
        return [node for node in named if isinstance(node.value, str)]

    def _recipe(self, parent: Node, chain: tuple[Path, ...]) -> Node:
        """A preset's file as a base. Its model is named and not yet there, so that a setting can still be chosen."""
        name = Node(parent.value.removeprefix(f"{PRESET}:").strip(), parent.place)
        whole = self.preset(name, ("extends",), chain)
        kept = {key: child for key, child in whole.value.items() if key not in (ABOUT, AS_PUBLISHED)}
        section = Node({PRESET: Node([name], parent.place)}, parent.place)
        return replace(whole, value={**kept, "model": section})


def _together(base: Node, tree: Node) -> Node:
    """A preset over another base: its model joins those of the presets before it."""
    merged = merge(base, tree)
    before = base.value["model"].child(PRESET) if "model" in base.value else None
    if before is None:
        return merged
    names = before.value if isinstance(before.value, list) else [before]
    model = merged.value["model"]
    both = replace(model.value[PRESET], value=[*names, *model.value[PRESET].value])
    return merged.with_child("model", model.with_child(PRESET, both))


def merge(base: Node, top: Node, *, slots: bool = True) -> Node:
    """`top` over `base`: mappings merge, anything else is replaced, and so is a slot that names another plugin.

    What pinned a `path` (its revision, its sha256) goes with it.

    `slots=False` below `vars`, where text is text and never short for `{use: text}`.
    """
    if slots and isinstance(base.value, dict) and "use" in base.value:
        top = top.promoted()
    elif slots and isinstance(top.value, dict):
        base = base.promoted()
    if not (isinstance(base.value, dict) and isinstance(top.value, dict)) or names_another(base, top.child("use")):
        return top
    merged = dict(without_pins(base, top.child("path")).value if slots else base.value)
    for key, child in top.value.items():
        merged[key] = merge(merged[key], child, slots=slots and key != "vars") if key in merged else child
    return replace(top, value=merged)
