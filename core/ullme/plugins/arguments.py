"""Plugins named by an argument of a Python function."""

from __future__ import annotations

from ullme.errors import UllmeError
from ullme.plugins.registry import Registry


def plugin_name(registry: Registry, kind: str, argument: str, name: str) -> str:
    """The plugin's own name for one of its names. Raises what the registry raises, with the argument named."""
    try:
        record = registry.resolve(kind, name)
    except UllmeError as error:
        raise type(error)(f"{argument}: {error}") from None
    return record.qualified if ":" in name else record.name
