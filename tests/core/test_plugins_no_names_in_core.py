"""The core knows no plugin by name: what a pipeline gets where its YAML is silent stands in the index."""

import ast
from pathlib import Path

import pytest

import ullme
from ullme.plugins import index

CORE = Path(ullme.__file__).parent
# Words that the core uses in another sense: its own package, keys of a model and a stage, metrics, fields of templates,
# a schedule of learning rates, the device that Lightning picks.
EVERYDAY = {"ullme", "losses", "mean", "last", "gradients", "cls", "attention", "linear", "max", "prefix", "auto"}


def strings(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_no_string_in_core_is_the_name_of_a_plugin(path):
    names = {word for entry in index.load().entries for word in (entry.name, *entry.aliases)} - EVERYDAY
    assert names
    assert [f"{path.name}:{line}: {text!r}" for text, line in strings(path) if text in names] == []
