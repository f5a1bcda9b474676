"""Which keys may stand at a place of a config: follows pydantic models, and plugins through their slots."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from ullme.config.slots import Slot
from ullme.config.tree import Loc, Node
from ullme.config.words import a
from ullme.errors import UllmeError

if TYPE_CHECKING:
    from ullme.plugins.registry import Registry


def keys_at(model: type[BaseModel], loc: Loc, root: Node, registry: Registry) -> dict[str, str | None]:
    """The keys allowed in the mapping at `loc` (as pydantic names it) with their descriptions."""
    node, arms = root, [model]
    for step in loc:
        arms = [arm for held in arms for arm in _below(_opened(held, node, registry), step)] or arms
        node = node.child(step) or node
    keys: dict[str, str | None] = {}
    for arm in arms:
        if isinstance(arm, Slot):
            keys["use"] = f"name of {a(arm.kind)}"
        opened = _opened(arm, node, registry)
        if isinstance(opened, type) and issubclass(opened, BaseModel):
            keys |= {name: field.description for name, field in opened.model_fields.items()}
    return keys


def _opened(arm: Any, node: Node, registry: Registry) -> Any:
    """What is behind a slot: the `Config` of the plugin that `node` names."""
    if not isinstance(arm, Slot):
        return arm
    name = node.promoted().child("use")
    try:
        return registry.load(arm.kind, str(name.value)).Config if name else None
    except UllmeError:
        return None  # reported where the slot itself was validated


def _below(arm: Any, step: str | int) -> Iterator[Any]:
    if isinstance(arm, type) and issubclass(arm, BaseModel):
        if step in arm.model_fields:
            field = arm.model_fields[str(step)]
            yield from _arms(field.annotation, tuple(field.metadata))
        return
    arguments = get_args(arm)
    if not arguments:
        return
    if issubclass(get_origin(arm), dict):
        yield from _arms(arguments[-1])
    elif isinstance(step, int):
        yield from _arms(arguments[min(step, len(arguments) - 1)] if arguments[-1] is not ... else arguments[0])


def _arms(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[Any]:
    """The alternatives of a type: members of a union, or the slot that marks it."""
    slot = next((mark for mark in metadata if isinstance(mark, Slot)), None)
    if slot:
        yield slot
    elif get_origin(annotation) is Annotated:
        yield from _arms(get_args(annotation)[0], get_args(annotation)[1:])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _arms(member)
    else:
        yield annotation
