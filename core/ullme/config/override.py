"""`--set a.b.0.c=value`: one value of the tree, changed from the command line."""

from __future__ import annotations

from ullme.config.source import parse_value
from ullme.config.tree import Loc, Node, Place, Problem, names_another, without_pins
from ullme.config.words import described
from ullme.errors import ConfigError


def override(root: Node, text: str, problems: list[Problem]) -> Node:
    """`root` with the change that `text` (PATH=VALUE, VALUE in YAML) asks for; a mistake in it is collected."""
    place = Place(f"--set {text}")
    dotted, equals, raw = text.partition("=")
    steps = dotted.strip().split(".")
    try:
        if not equals or not all(steps):
            raise ConfigError("expected PATH=VALUE, such as stages.0.trainer.lr=1e-4")
        if steps[0] == "extends":
            raise ConfigError("`extends` is read from files only; name another FILE instead")
        return _put(root, steps, parse_value(raw, place, problems, _loc(steps)))
    except ConfigError as error:
        problems.append(Problem(place, str(error)))
        return root


def _put(node: Node | None, steps: list[str], value: Node, done: str = "") -> Node:
    if not steps:
        return value
    if node is None or node.value is None:
        node = Node({}, value.place)
    node = node.promoted()
    step, *rest = steps
    here = f"{done}.{step}".lstrip(".")
    if isinstance(node.value, list):
        size = len(node.value)
        if not (step.isdecimal() and int(step) < size):
            allowed = f"0 to {size - 1}" if size else "none, it is empty"
            raise ConfigError(f"{done} is a list without an item {step!r}; its items are {allowed}")
        return node.with_child(int(step), _put(node.value[int(step)], rest, value, here))
    if not isinstance(node.value, dict):
        raise ConfigError(f"{done} is {described(node.value)}; nothing can be set below it")
    if step == "use" and not rest and names_another(node, value):
        # The fields of the plugin that was there mean nothing to the new one.
        return Node({"use": value}, value.place)
    if step == "path" and not rest and not done.startswith("vars"):
        node = without_pins(node, value)
    return node.with_child(step, _put(node.value.get(step), rest, value, here))


def _loc(steps: list[str]) -> Loc:
    return tuple(int(step) if step.isdecimal() else step for step in steps)
