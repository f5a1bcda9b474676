"""`model: {preset: NAME}`: whole model sections by name, and what a preset's file says of itself.

A preset is a YAML file with a `model:` section, found through the group `ullme.presets`. Where a paper ran the model in
another way than its authors meant, `as-published:` holds the difference; `setting: as-published` lays it over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, ValidationError

from ullme.config.explain import explain
from ullme.config.interpolate import resolved
from ullme.config.layers import ABOUT, AS_PUBLISHED, PRESET, Reader, merge
from ullme.config.section import Section
from ullme.config.tree import Node, Place, Problem, config_error

if TYPE_CHECKING:
    from ullme.plugins.discovery import PluginRecord
    from ullme.plugins.registry import Registry

_S = TypeVar("_S", bound=Section)

SETTING = "setting"
SETTINGS = ("official", AS_PUBLISHED)
"""How a preset may be set: as its authors use the model, or as a paper that compares with it did."""

_LOC, _AT = ("model", PRESET), ("model", SETTING)


class About(Section):
    """The `about:` section of a preset: for readers, no part of any pipeline."""

    summary: str = Field(description="one line")
    paper: str = Field("", description="where the model is described")
    licence: str = Field("", description="of the weights")
    sources: list[str] = Field(min_length=1, description="URLs of weights and official code")
    notes: list[str] = Field([], description="what a user should know, and what was not verified")


class Published(Section):
    """The `as-published:` section of a preset: who ran the model how, and the changes to its model section."""

    note: str = Field(description="who ran it so, and what differs from its official use")
    model: dict[str, Any] = Field(description="laid over the model section")


def expanded(root: Node, reader: Reader) -> Node:
    """`root` with the presets of its model section in place. Raises ConfigError for one that cannot be had."""
    model = root.child("model")
    return root if model is None else root.with_child("model", _section(model, reader, root, ()))


def _section(model: Node, reader: Reader, root: Node, chain: tuple[str, ...]) -> Node:
    named, setting = model.child(PRESET), model.child(SETTING)
    if named is None:
        if setting is not None:
            raise reader.error(setting, "`setting` says how a preset is set, and no `preset` is named beside it", _AT)
        return model
    named = resolved(root, named, _LOC, reader.problems)
    chosen = "official" if setting is None else _setting(resolved(root, setting, _AT, reader.problems), reader)
    names = named.value if isinstance(named.value, list) else [named]
    if not names or not all(isinstance(name.value, str) for name in names):
        installed = ", ".join(reader.registry.names(PRESET)) or "none"
        raise reader.error(named, f"expected the name of a preset, or a list of names.\n  Installed: {installed}", _LOC)
    sections, lacking = [], []
    for name in names:
        if name.value in chain:
            raise reader.error(name, f"presets name each other in a cycle: {' -> '.join((*chain, name.value))}", _LOC)
        whole = reader.preset(name, _LOC)
        section = whole.child("model")
        if section is None:
            raise reader.error(whole, f"preset {name.value!r} has no `model:` section")
        sections.append(_section(section, reader, root, (*chain, name.value)))
        published = whole.child(AS_PUBLISHED)
        changes = published.child("model") if published is not None else None
        if chosen == AS_PUBLISHED and changes is not None:
            sections.append(changes)
        elif chosen == AS_PUBLISHED:
            lacking.append(name.value)
    if setting is not None and len(lacking) == len(names):
        raise reader.error(
            setting, f"{', '.join(lacking)} has no setting {chosen!r}: no paper is known to run it so", _AT
        )
    own = {key: child for key, child in model.value.items() if key not in (PRESET, SETTING)}
    base = sections[0]
    for section in (*sections[1:], replace(model, value=own)):
        base = merge(base, section)
    return base


def _setting(node: Node, reader: Reader) -> str:
    if node.value not in SETTINGS:
        close = get_close_matches(str(node.value), SETTINGS, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise reader.error(node, f"there is no setting {node.value!r}.{meant} Settings: {', '.join(SETTINGS)}", _AT)
    return str(node.value)


@dataclass(frozen=True)
class Preset:
    """A preset read for its own sake: what it says of itself, its model section as written out, and the rest of it."""

    path: Path
    about: About
    model: dict[str, Any]
    published: Published | None
    recipe: dict[str, Any]


def load_preset(name: str, registry: Registry) -> Preset:
    """The preset of that name. Raises UllmeError for one that is unknown, or whose file is not what it should be."""
    problems: list[Problem] = []
    reader = Reader(problems, registry)
    path = registry.file(PRESET, name)
    place = Place(f"{PRESET} {name}")
    whole = reader.file(path)
    model = expanded(Node({"model": Node({PRESET: Node(name, place)}, place)}, place), reader).value["model"]
    about = _own(About, whole, ABOUT, reader)
    if about is None:
        raise reader.error(whole, f"`{ABOUT}:` is missing: a preset says what it is and where that can be read")
    published = _own(Published, whole, AS_PUBLISHED, reader)
    if problems:
        raise config_error(problems)
    recipe = {key: node.plain() for key, node in whole.value.items() if key not in (ABOUT, AS_PUBLISHED, "model")}
    return Preset(path, about, model.plain(), published, recipe)


def check(record: PluginRecord) -> None:
    """Raise UllmeError for a preset whose file cannot be used."""
    from ullme.config.load import load_model
    from ullme.plugins.registry import Registry

    registry = Registry()
    preset = load_preset(record.qualified, registry)
    load_model(preset.model, registry=registry)
    if preset.published is not None:
        load_model({PRESET: record.qualified, SETTING: AS_PUBLISHED}, registry=registry)


def _own(section: type[_S], whole: Node, key: str, reader: Reader) -> _S | None:
    """The section `key` of a preset's file, checked."""
    node = whole.child(key)
    if node is None:
        return None
    try:
        return section.model_validate(node.plain())
    except ValidationError as error:
        found = explain(error, section, node, reader.registry)
        raise config_error(replace(problem, loc=(key, *problem.loc)) for problem in found) from None
