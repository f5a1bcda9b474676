"""References: `${vars.x}` or any other path, `${env:NAME}`, `${env:NAME:-default}`; `$${` is a plain `${`.

A value that is nothing but a reference takes the type of what it refers to; inside a longer text it becomes text.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from difflib import get_close_matches

from ullme.config.source import parse_value
from ullme.config.tree import Loc, Node, Problem
from ullme.config.words import described
from ullme.errors import ConfigError

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")


def escaped(text: str) -> str:
    """`text` written so that it reads back as itself."""
    return text.replace("${", "$${")


def interpolate(root: Node, problems: list[Problem]) -> Node:
    """`root` without `vars` and with every reference replaced; what cannot be is left alone and collected."""
    resolver = _Resolver(root, problems)
    return resolver.resolve(replace(root, value={k: v for k, v in root.value.items() if k != "vars"}), (), ())


def resolved(root: Node, node: Node, loc: Loc, problems: list[Problem]) -> Node:
    """`node` of the tree `root`, alone, with its references replaced."""
    return _Resolver(root, problems).resolve(node, loc, ())


class _Resolver:
    def __init__(self, root: Node, problems: list[Problem]) -> None:
        self._root = root
        self._problems = problems

    def resolve(self, node: Node, loc: Loc, chain: tuple[str, ...]) -> Node:
        """`node` as it shall stand at `loc`; `chain` are the references that led here."""
        if isinstance(node.value, dict):
            return replace(node, value={k: self.resolve(child, (*loc, k), chain) for k, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[self.resolve(child, (*loc, i), chain) for i, child in enumerate(node.value)])
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        try:
            whole = _TOKEN.fullmatch(node.value)
            if whole and whole[1] is not None:
                # Placed at the use: that is where a wrong value does its harm.
                return replace(self._referred(whole[1], node, loc, chain), place=node.place, key=node.key)
            return replace(node, value=_TOKEN.sub(lambda match: self._inline(match, node, loc, chain), node.value))
        except ConfigError as error:
            self._problems.append(Problem(node.place, str(error), loc))
            return node

    def _inline(self, match: re.Match[str], node: Node, loc: Loc, chain: tuple[str, ...]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise ConfigError("`${` is not closed by a `}`; write `$${` for the characters themselves")
        if match[1].startswith("env:"):
            return _environment(match[1])
        value = self._referred(match[1], node, loc, chain).value
        if isinstance(value, (dict, list)):
            raise ConfigError(f"{match[0]} is {described(value)}, which cannot stand inside a text")
        return value if isinstance(value, str) else json.dumps(value)

    def _referred(self, reference: str, site: Node, loc: Loc, chain: tuple[str, ...]) -> Node:
        if reference.startswith("env:"):
            return parse_value(_environment(reference), site.place, self._problems, loc)
        if reference in chain:
            raise ConfigError("references form a cycle: " + " -> ".join((*chain[chain.index(reference) :], reference)))
        chain = (*chain, reference)
        node = self._root
        for step in reference.split("."):
            if isinstance(node.value, str):
                node = self.resolve(node, loc, chain)
            found = node.child(int(step) if isinstance(node.value, list) and step.isdecimal() else step)
            if found is None:
                raise ConfigError(_nothing(reference, step, node))
            node = found
        return self.resolve(node, loc, chain)


def _environment(reference: str) -> str:
    """Text of `env:NAME` or `env:NAME:-default`; as in a shell, an empty variable counts as unset."""
    name, has_default, default = reference.removeprefix("env:").partition(":-")
    value = os.environ.get(name.strip(), "")
    if value or has_default:
        return value or default
    raise ConfigError(f"environment variable {name} is not set; set it, or give a default: ${{env:{name}:-value}}")


def _nothing(reference: str, step: str, node: Node) -> str:
    keys = list(node.value) if isinstance(node.value, dict) else []
    close = get_close_matches(step, keys, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    there = f"{', '.join(keys)} (defaults cannot be referred to)" if keys else described(node.plain())
    return f"${{{reference}}}: no {step!r} is written there.{meant} Found: {there}"
