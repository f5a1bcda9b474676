"""What every plugin must satisfy, whatever its kind."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import pytest

from ullme.interfaces import Component, ComponentConfig
from ullme.plugins.registry import Registry


class ComponentConformance:
    """Subclass the class of your kind and set `name`; `config` holds settings without which it cannot be made.

    A test that cannot hold for a plugin is overridden and marked `xfail` with a reason; overriding it quietly fails.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    config: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def cls(self) -> type[Component]:
        """The class, found by its name as a pipeline would find it."""
        return Registry().load(self.kind, self.name)

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """The settings of `component`; override it where they must be made first, such as a path."""
        return dict(self.config)

    @pytest.fixture
    def component(self, cls: type[Component], settings: dict[str, Any]) -> Any:
        """The plugin, made from its settings."""
        return cls(cls.Config.model_validate(settings))

    def test_first_docstring_line_is_a_summary(self, cls: type[Component]) -> None:
        """Users see that line in editors and in `ullme show-plugin`."""
        lines = (cls.__dict__.get("__doc__") or "").strip().splitlines()
        assert lines, "write a docstring: its first line is the summary"
        assert len(lines[0]) <= 120, "the first line of the docstring is too long for a summary"

    def test_unknown_settings_are_refused(self, cls: type[Component]) -> None:
        """A misspelt key in YAML must not pass silently."""
        assert issubclass(cls.Config, ComponentConfig)
        assert cls.Config.model_config.get("extra") == "forbid", "do not loosen the Config of the interface"

    def test_settings_survive_json(self, cls: type[Component], settings: dict[str, Any]) -> None:
        """A run directory holds the resolved settings, from which the same component must be made again."""
        config = cls.Config.model_validate(settings)
        assert cls.Config.model_validate(json.loads(config.model_dump_json())) == config

    def test_import_stays_light(self, cls: type[Component]) -> None:
        """`ullme validate` imports the declaration: heavy packages belong inside the methods that use them."""
        module = cls.__module__
        if module in _light_together(module.rpartition(".")[0]):
            return
        found = _heavy_after_importing([module])
        assert not found, f"importing {module} imports {' '.join(found)}"

    def test_no_test_of_the_suite_is_weakened(self) -> None:
        """The suite means something only if it is run whole."""
        suite = next(klass for klass in type(self).__mro__ if klass.__module__.startswith(__package__))
        changed = [
            name
            for name in dir(suite)
            if name.startswith("test_") and getattr(type(self), name) is not getattr(suite, name)
        ]
        quiet = [name for name in changed if not _xfails_with_a_reason(getattr(type(self), name))]
        assert not quiet, f"mark these xfail with a reason instead of overriding them: {', '.join(quiet)}"


@cache
def _light_together(package: str) -> frozenset[str]:
    """The modules of a package if importing all of them in one process stays light, else none: then each is asked."""
    places = getattr(sys.modules.get(package), "__path__", ())
    modules = [f"{package}.{found.name}" for found in pkgutil.iter_modules(places) if not found.ispkg]
    try:
        return frozenset() if not modules or _heavy_after_importing(modules) else frozenset(modules)
    except subprocess.CalledProcessError:  # one of them cannot be imported
        return frozenset()


def _heavy_after_importing(modules: Sequence[str]) -> list[str]:
    """Which heavy packages a fresh process has loaded after importing `modules`."""
    heavy = "{'torch', 'transformers', 'lightning', 'mteb', 'datasets'}"
    code = f"import sys, {', '.join(modules)}; print(*sorted({heavy} & sys.modules.keys()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _xfails_with_a_reason(test: Any) -> bool:
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in getattr(test, "pytestmark", []))
