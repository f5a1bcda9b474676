"""pytest fixtures to test plugins and what happens around them, without pip.

Use them by `pytest_plugins = ["ullme.testing.fixtures"]` in a test module or the top conftest.py.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ullme.kinds import KINDS
from ullme.plugins import discovery
from ullme.plugins.discovery import PluginRecord
from ullme.plugins.index import Index
from ullme.plugins.registry import Registry

FakeDist = Callable[..., Path]
IsolatedRegistry = Callable[..., Registry]


@pytest.fixture
def fake_dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDist]:
    """A function `make(name, entry_points, modules, ...)` that lays out an installed distribution on `sys.path`.

    `entry_points` maps group -> name -> target, or is the text of entry_points.txt; `modules` maps a module's name to
    its source. Returns the folder.
    """
    made: set[str] = set()

    def make(
        name: str,
        entry_points: Mapping[str, Mapping[str, str]] | str,
        modules: Mapping[str, str] | None = None,
        *,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        direct_url: Mapping[str, Any] | None = None,
        metadata: str | None = None,
    ) -> Path:
        folder = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nSummary: {name}, made for a test"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n" if metadata is None else metadata, "utf-8")
        if not isinstance(entry_points, str):
            sections = (
                "\n".join([f"[{group}]", *(f"{key} = {target}" for key, target in table.items())])
                for group, table in entry_points.items()
            )
            entry_points = "\n\n".join(sections) + "\n"
        (info / "entry_points.txt").write_text(entry_points, "utf-8")
        if direct_url is not None:
            (info / "direct_url.json").write_text(json.dumps(direct_url), "utf-8")
        for module, source in (modules or {}).items():
            (folder / f"{module}.py").write_text(source, "utf-8")
            made.add(module)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    yield make
    for module in made & sys.modules.keys():
        del sys.modules[module]
    importlib.invalidate_caches()


@pytest.fixture
def isolated_registry(monkeypatch: pytest.MonkeyPatch) -> IsolatedRegistry:
    """A function `make({kind: {name: class}}, index=Index())`: a registry of these classes and of nothing installed.

    While the fixture is in use, looking at what is installed is an error.
    """

    def refuse() -> None:
        raise AssertionError("a test with an isolated registry looked at what is installed")

    monkeypatch.setattr(discovery, "survey", refuse)

    def make(plugins: Mapping[str, Mapping[str, type[Any]]], index: Index | None = None) -> Registry:
        for kind in plugins:
            assert kind in KINDS, f"unknown kind {kind!r}"
        classes = {
            PluginRecord(kind, name, "isolated", "0", f"{cls.__module__}:{cls.__qualname__}"): cls
            for kind, table in plugins.items()
            for name, cls in table.items()
        }
        registry = Registry(classes, Index() if index is None else index)
        registry._loaded.update(classes)
        return registry

    return make
