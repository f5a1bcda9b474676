"""`ullme doctor`: facts about this installation, and what is wrong with it, each with its remedy."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ullme import __version__
from ullme.assets.cache import cache_dir
from ullme.kinds import KINDS, canonical
from ullme.plugins.discovery import OWN_DIST, Survey, survey, uninstalled
from ullme.plugins.local import unreadable
from ullme.plugins.registry import Registry

SUMMARY = "Facts about this installation, and what is wrong with it. Exit code 1 if there is a problem."
EXAMPLE = "ullme doctor"

_GROUPS = {kind.group: kind.name for kind in KINDS.values()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`ullme doctor` has no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Print facts, then problems; 1 if there is a problem."""
    found = survey()
    for label, value in _facts(found):
        print(f"{label:13} {value}")
    problems = [*_metadata(found), *_plugins(found), *_stale(found), *_not_installed(), *_torch(), *_cache()]
    print()
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'} found")
    return 1 if problems else 0


def _facts(found: Survey) -> Iterator[tuple[str, str]]:
    yield OWN_DIST, f"{__version__} in {Path(__file__).parents[1]}"
    yield "python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    needed = importlib.metadata.requires(OWN_DIST) or () if _installed(OWN_DIST) else ()
    for name in sorted(re.split(r"[^\w-]", line)[0] for line in needed if "extra ==" not in line):
        yield name, _installed(name) or "not installed"
    yield "devices", _devices() or "unknown"
    yield "plugins", f"{len(found.records)} from {len({record.dist for record in found.records})} distributions"
    yield "cache", str(cache_dir())


def _installed(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _metadata(found: Survey) -> Iterator[str]:
    """What `importlib.metadata` cannot read, and what only the stricter parser of `entrypoints` refuses."""
    for fault in found.faults:
        yield f"{fault.where}: {fault.problem}\n  reinstall that distribution, or tell its author"
    known = tuple(fault.where for fault in found.faults)
    for line in unreadable(sys.path):
        if not line.startswith(known or "\0"):
            yield f"{line}\n  its author should correct the entry points"


def _plugins(found: Survey) -> Iterator[str]:
    registry = Registry(found.records)
    for record in found.records:
        status = registry.status(record)
        if record.problem or status.startswith(("clash", "refused")):
            yield f"{record}: {status}"


def _stale(found: Survey) -> Iterator[str]:
    """Editable installs whose pyproject.toml has other entry points by now."""
    for dist, origin in sorted({(r.dist, r.origin) for r in found.records if r.origin.startswith("editable ")}):
        folder = Path(unquote(urlparse(origin.removeprefix("editable ")).path))
        declared = _declared(folder / "pyproject.toml")
        if declared is None:
            yield f"{dist} is installed as editable from {folder}, where there is no pyproject.toml any more"
            continue
        installed = {(r.kind, r.name, r.target) for r in found.records if r.dist == dist}
        if changed := sorted({f"{kind} {name}" for kind, name, _ in declared[1] ^ installed}):
            yield f"{dist}: entry points changed since installation: {', '.join(changed)}\n  pip install -e {folder}"


def _not_installed() -> Iterator[str]:
    """Checkouts with plugins that can be imported but were never installed, so nobody finds them."""
    if reason := uninstalled():
        yield reason
    places = (Path(entry or ".").resolve() for entry in sys.path)
    for folder in dict.fromkeys(folder for place in places for folder in (place, place.parent)):
        declared = _declared(folder / "pyproject.toml")
        if declared and declared[1] and not _installed(declared[0]):
            yield f"{declared[0]} in {folder} is on sys.path but not installed\n  pip install -e {folder}"


def _declared(pyproject: Path) -> tuple[str, set[tuple[str, str, str]]] | None:
    """Distribution and plugins that a pyproject.toml declares, or None where there is no such file to read."""
    try:
        project: dict[str, Any] = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return None
    groups = project.get("entry-points", {})
    plugins = {
        (_GROUPS[group], canonical(name), target)
        for group in groups.keys() & _GROUPS.keys()
        for name, target in groups[group].items()
    }
    return canonical(project.get("name", "")), plugins


def _torch() -> Iterator[str]:
    if _devices() is None:
        yield "torch cannot be imported\n  see pytorch.org for the build that fits this machine"


def _devices() -> str | None:
    """What torch can compute on, or None where torch cannot be imported."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a shared library is missing
        return None
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA in this build"
    return f"{', '.join(names) or 'CPU only'} ({build}), {torch.get_num_threads()} threads"


def _cache() -> Iterator[str]:
    folder = cache_dir()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield f"the cache {folder} cannot be written\n  set ULLME_CACHE to a folder that can"
