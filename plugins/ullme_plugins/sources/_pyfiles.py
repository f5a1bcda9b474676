"""The Python files of installed packages and of folders, found without importing anything."""

import difflib
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ullme import DataError

STDLIB = "stdlib"
_SKIPPED = {"__pycache__", "test", "tests", "site-packages", "dist-packages", "node_modules", "idlelib", "lib2to3"}


def package_files(name: str) -> list[tuple[str, Path]]:
    """(module, file) of a package's Python files, sorted. `name` is an import name, a distribution, or `stdlib`.

    Raises DataError if it is not installed or has no Python source.
    """
    if name == STDLIB:
        return folder_files(Path(sysconfig.get_paths()["stdlib"]))
    tops = [name] if _installed(name) else _tops_of(name)
    if not tops:
        raise DataError(_unknown(name))
    files = [file for top in tops for file in _top_files(top)]
    if not files:
        raise DataError(f"packages: {name!r} is installed but has no Python source to read")
    return files


def folder_files(folder: Path, package: str = "") -> list[tuple[str, Path]]:
    """(module, file) of the Python files under a folder, sorted; without tests, hidden folders and environments."""
    return sorted((_module(package, file.relative_to(folder)), file) for file in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        if "pyvenv.cfg" in names and Path(place) != folder:
            folders.clear()
            continue
        yield from (Path(place, name) for name in names if name.endswith(".py"))


def _module(package: str, relative: Path) -> str:
    parts = relative.with_suffix("").parts
    inside = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return f"{package}.{inside}".strip(".")


def _installed(top: str) -> bool:
    try:
        return "." not in top and importlib.util.find_spec(top) is not None
    except ValueError:  # a module without a spec, such as __main__
        return False


def _tops_of(dist: str) -> list[str]:
    """Import names of a distribution: scikit-learn -> sklearn."""
    wanted = dist.lower().replace("_", "-")
    owners = importlib.metadata.packages_distributions()
    tops = [top for top, dists in owners.items() if wanted in {name.lower().replace("_", "-") for name in dists}]
    return [top for top in sorted(tops) if _installed(top)]


def _top_files(top: str) -> list[tuple[str, Path]]:
    spec = importlib.util.find_spec(top)  # of a top-level name: looks, and runs nothing of the package
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [file for place in spec.submodule_search_locations for file in folder_files(Path(place), top)]
    return [(top, Path(spec.origin))] if spec.origin and spec.origin.endswith(".py") else []


def _unknown(name: str) -> str:
    if "." in name:
        return f"packages: expected a top-level name such as {name.split('.')[0]!r}, found {name!r}"
    owners = importlib.metadata.packages_distributions()
    known = {STDLIB, *sys.stdlib_module_names, *owners, *(dist for dists in owners.values() for dist in dists)}
    close = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"packages: {name!r} is not installed here.{hint}\n  pip install {name}"
