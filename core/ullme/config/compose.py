"""One file becomes one tree: `extends`, then presets, then `--set`, then `${...}`.

Relative paths inside a file stay as they are written: they are relative to the working directory of the command, as on
a command line. Only `extends` is relative to the file that says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.config.interpolate import interpolate
from ullme.config.layers import PRESET, Reader
from ullme.config.override import override
from ullme.config.presets import SETTING, expanded
from ullme.config.tree import Node, Place, Problem, from_plain

if TYPE_CHECKING:
    from ullme.plugins.registry import Registry


@dataclass(frozen=True)
class Document:
    """A composed tree and what is wrong with it so far."""

    root: Node
    problems: list[Problem]


def compose(path: Path, overrides: Sequence[str] = (), registry: Registry | None = None) -> Document:
    """The tree of `path`. Raises ConfigError if a file cannot be read at all; lesser problems are collected."""
    problems: list[Problem] = []
    reader = Reader(problems, registry)
    root = reader.file(path)
    # An override that chooses a preset comes before the preset is there, one that changes it afterwards.
    chosen = max((number for number, text in enumerate(overrides, 1) if _chooses(text)), default=0)
    for text in overrides[:chosen]:
        root = override(root, text, problems)
    root = expanded(root, reader)
    for text in overrides[chosen:]:
        root = override(root, text, problems)
    return Document(interpolate(root, problems), problems)


def compose_model(section: Mapping[str, Any], registry: Registry | None = None) -> Document:
    """The tree of a pipeline with nothing but this model section."""
    problems: list[Problem] = []
    root = from_plain({"model": section}, Place("model section"))
    return Document(expanded(root, Reader(problems, registry)), problems)


def _chooses(text: str) -> bool:
    steps = text.partition("=")[0].strip().split(".")
    return steps[0] == "model" and (len(steps) == 1 or steps[1] in (PRESET, SETTING))
