"""The table of component kinds. Adding a kind to ullme means adding a row here and its interface."""

from typing import NamedTuple


class Kind(NamedTuple):
    """One row: what the kind is called, its entry-point group, and the class in `ullme.interfaces` it must extend."""

    name: str
    group: str
    interface: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("backbone", "ullme.backbones", "Backbone"),
        Kind("attention", "ullme.attention", "AttentionPatcher"),
        Kind("pooler", "ullme.poolers", "Pooler"),
        Kind("loss", "ullme.losses", "Loss"),
        Kind("connector", "ullme.connectors", "Connector"),
        Kind("evaluator", "ullme.evaluators", "Evaluator"),
        Kind("source", "ullme.sources", "DataSource"),
        Kind("exporter", "ullme.exporters", "Exporter"),
        Kind("hook", "ullme.hooks", "Hooks"),
    )
}


def canonical(name: str) -> str:
    """The one spelling of a plugin or distribution name: lower case, hyphens."""
    return name.strip().lower().replace("_", "-")


def kind_named(text: str) -> Kind | None:
    """The kind called `text`, singular or plural (`loss`, `losses`), or None."""
    wanted = canonical(text)
    for kind in KINDS.values():
        if wanted in (kind.name, kind.group.removeprefix("ullme.")):
            return kind
    return None
