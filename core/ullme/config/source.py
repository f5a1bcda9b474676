"""Read YAML into a tree with places. Plain YAML only: no tags that build objects, no key given twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ullme.config.dialect import PLAIN_TAGS, TAG, PlainLoader
from ullme.config.tree import Loc, Node, Place, Problem, config_error
from ullme.errors import ConfigError


def read(path: Path, problems: list[Problem]) -> Node:
    """The tree of a file whose top level is a mapping. Raises ConfigError if there is nothing to go on with."""
    text = _text(path)
    lines = text.splitlines()

    def place(mark: Any) -> Place:
        line = lines[mark.line] if mark.line < len(lines) else ""
        return Place(str(path), mark.line + 1, mark.column + 1, line)

    try:
        root = _parse(text, place, problems)
    except _Malformed as error:
        raise config_error([*problems, Problem(place(error.mark), str(error))]) from None
    if root is None:
        raise ConfigError(f"{path}: the file is empty; expected a mapping of keys to values")
    if not isinstance(root.value, dict):
        raise config_error([Problem(root.place, "expected a mapping of keys to values at the top level")])
    return root


def parse_value(text: str, place: Place, problems: list[Problem], loc: Loc) -> Node:
    """The YAML value in `text` for the path `loc`, all of it attributed to `place`; empty text is null.

    Raises ConfigError, without the place, if it is not YAML.
    """
    try:
        return _parse(text, lambda mark: place, problems, loc) or Node(None, place)
    except _Malformed as error:
        raise ConfigError(str(error)) from None


class _Malformed(Exception):
    def __init__(self, mark: Any, message: str) -> None:
        super().__init__(f"not valid YAML: {message}")
        self.mark = mark


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        from difflib import get_close_matches

        folder = path.parent
        siblings = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        close = get_close_matches(path.name, siblings, n=1)
        hint = f". Did you mean {folder / close[0]}?" if close else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; expected a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line = raw.splitlines()[before.count("\n")].decode("utf-8", "replace")
        place = Place(str(path), before.count("\n") + 1, len(before) - before.rfind("\n"), line)
        message = f"not UTF-8 text: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise config_error([Problem(place, message)]) from None


def _parse(text: str, place: Callable[[Any], Place], problems: list[Problem], loc: Loc = ()) -> Node | None:
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        builder = _Builder(loader, place, problems)
        builder.refuse_duplicates(node)
        return builder.build(node, loc)
    except yaml.MarkedYAMLError as error:
        message = f"{error.problem}" + (f" ({error.context})" if error.context else "")
        if "'\\t'" in message:
            message += "; indent with spaces, not tabs"
        # What was never closed is found missing at the end of the file, where there is nothing to show.
        ended = error.problem_mark is None or error.problem_mark.index >= len(text.rstrip())
        raise _Malformed(error.context_mark if ended and error.context_mark else error.problem_mark, message) from None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position) - 1
        mark = yaml.Mark("", error.position, line, column, None, 0)
        raise _Malformed(mark, f"character U+{ord(text[error.position]):04X} is not allowed") from None


class _Builder:
    """YAML nodes -> our nodes. Mistakes are collected; the tree goes on without them."""

    def __init__(self, loader: PlainLoader, place: Callable[[Any], Place], problems: list[Problem]) -> None:
        self._loader = loader
        self._place = place
        self._problems = problems
        self._open: set[int] = set()

    def _refuse(self, node: Any, message: str, loc: Loc = ()) -> None:
        self._problems.append(Problem(self._place(node.start_mark), message, loc))

    def refuse_duplicates(self, root: Any) -> None:
        """Done before merge keys (`<<`) are expanded, because those may be overridden on purpose."""
        todo, seen = [root], set()
        while todo:
            node = todo.pop()
            if id(node) in seen or isinstance(node, yaml.ScalarNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                todo += node.value
                continue
            first: dict[Any, Any] = {}
            for key, value in node.value:
                todo.append(value)
                if isinstance(key, yaml.ScalarNode) and key.value in first:
                    line = first[key.value].start_mark.line + 1
                    self._refuse(key, f"key {key.value!r} is given twice (first on line {line})")
                elif isinstance(key, yaml.ScalarNode):
                    first[key.value] = key

    def build(self, node: Any, loc: Loc, key: Place | None = None) -> Node:
        """The tree below `node`, which stands at `loc`."""
        place = self._place(node.start_mark)
        if id(node) in self._open:
            self._refuse(node, "this anchor contains itself", loc)
            return Node(None, place, key)
        if node.tag not in PLAIN_TAGS:
            self._refuse(node, f"tag {_short(node.tag)} is not allowed; write a plain YAML value", loc)
            return Node(None, place, key)
        self._open.add(id(node))
        try:
            return Node(self._value(node, loc), place, key)
        finally:
            self._open.discard(id(node))

    def _value(self, node: Any, loc: Loc) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*loc, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError):
            self._refuse(node, f"{node.value!r} is no valid {_short(node.tag)}", loc)
            return None

    def _mapping(self, node: Any, loc: Loc) -> dict[str, Node]:
        self._loader.flatten_mapping(node)
        built: dict[str, Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                # A key is its text, whatever YAML would make of it: `no:` is a language, `64:` a size.
                built[key.value] = self.build(value, (*loc, key.value), self._place(key.start_mark))
            else:
                self._refuse(key, "a key must be plain text")
        return built


def _short(tag: str) -> str:
    return tag.replace(TAG, "!!")
