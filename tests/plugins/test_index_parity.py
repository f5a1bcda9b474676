"""The index, the entry points and what is installed say the same."""

import tomllib
from pathlib import Path

import pytest

from ullme.kinds import KINDS
from ullme.plugins import commands, index
from ullme.plugins.discovery import OWN_DIST, scan
from ullme.plugins.registry import Registry

ROOT = Path(__file__).parents[2]


def test_rows_of_the_index_are_the_entry_points():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {(kind.name, name) for kind in KINDS.values() for name in project["entry-points"].get(kind.group, {})}
    assert project["name"] == OWN_DIST
    assert {(entry.kind, entry.name) for entry in index.load().entries if entry.dist == OWN_DIST} == declared
    assert {(record.kind, record.name) for record in scan() if record.dist == OWN_DIST} == declared


def test_every_group_of_entry_points_is_a_kind_or_holds_commands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {group for group in project["entry-points"] if group.startswith("ullme.")} <= {
        commands.GROUP,
        *(kind.group for kind in KINDS.values()),
    }


def test_every_alias_resolves_to_its_row():
    registry = Registry()
    aliases = [(entry, alias) for entry in registry.index.entries for alias in entry.aliases]
    assert aliases
    for entry, alias in aliases:
        assert registry.resolve(entry.kind, alias).name == entry.name


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("embed", "attention"),
        ("generate", "attention"),
        ("pooler", "pooler"),
        ("backbone", "backbone"),
        ("contrastive", "loss"),
        ("agreement", "loss"),
        ("benchmark", "evaluator"),
    ],
)
def test_every_default_is_installed(key, kind):
    registry = Registry()
    assert registry.resolve(kind, registry.index.defaults[key]).dist == OWN_DIST
