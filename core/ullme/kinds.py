"""The table of component kinds. Adding a kind to ullme means adding a row here and its interface."""

from typing import NamedTuple


class Kind(NamedTuple):
    """One row: what the kind is called, its entry-point group, and the class in `ullme.interfaces` it must extend.

    Without such a class the kind is data: its entry points name YAML files, `package:stem` the file stem.yaml in that
    package's folder, and nothing of it is ever imported.
    """

    name: str
    group: str
    interface: str | None = None


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("backbone", "ullme.backbones", "Backbone"),
        Kind("attention", "ullme.attention", "AttentionPatcher"),
        Kind("pooler", "ullme.poolers", "Pooler"),
        Kind("head", "ullme.heads", "Head"),
        Kind("loss", "ullme.losses", "Loss"),
        Kind("connector", "ullme.connectors", "Connector"),
        Kind("evaluator", "ullme.evaluators", "Evaluator"),
        Kind("source", "ullme.sources", "DataSource"),
        Kind("exporter", "ullme.exporters", "Exporter"),
        Kind("hook", "ullme.hooks", "Hooks"),
        Kind("preset", "ullme.presets"),
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
