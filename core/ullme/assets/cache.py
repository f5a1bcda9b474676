"""The cache folder, and how it knows that its entries still hold what was put there."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ullme.atomic import atomic_dir, atomic_write
from ullme.errors import AssetError, OutputError

_STAMP = ".ullme-stamp.json"


def cache_dir() -> Path:
    """`$ULLME_CACHE`, or `ullme` in the user's cache folder of this platform. It may not exist yet."""
    if chosen := os.environ.get("ULLME_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ullme"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """As `file_sha256`, remembered while size and times stay the same, so that big weights are hashed once."""
    memo = cache_dir() / "digests" / f"{short_hash(str(path.resolve()))}.json"
    facts = _facts(path)
    with suppress(OSError, ValueError, KeyError):
        remembered = json.loads(memo.read_text("utf-8"))
        if remembered["facts"] == facts:
            return str(remembered["sha256"])
    digest = file_sha256(path)
    _remember(memo, {"facts": facts, "sha256": digest})
    return digest


def cached(folder: Path, make: Callable[[Path], str], sha256: str | None, what: str) -> Path:
    """`folder`, made by `make(temporary folder) -> sha256` unless it is there and unchanged.

    Raises AssetError, and drops the entry, when `sha256` is given and differs from what `make` returned.
    """
    found = _unchanged(folder)
    if found is None:
        _make_cache(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)  # damaged: cut short, or edited
        with atomic_dir(folder, replace=False) as temp:  # whoever was first wins; both hold the same
            found = make(temp)
            _write_stamp(temp, found)
    if sha256 is not None and found != sha256:
        shutil.rmtree(folder, ignore_errors=True)
        raise AssetError(sha256_mismatch(what, sha256, found) + " It was removed from the cache.")
    return folder


def sha256_mismatch(what: str, expected: str, found: str) -> str:
    """The message for bytes that are not the pinned ones."""
    return (
        f"{what}: these are not the pinned bytes\n  expected sha256 {expected}\n  found    sha256 {found}\n"
        "  Correct the sha256 if the new bytes are wanted; otherwise do not use them."
    )


def short_hash(text: str) -> str:
    """A name for a cache entry."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _write_stamp(folder: Path, sha256: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    held = {path.relative_to(folder).as_posix(): {"facts": _facts(path), "sha256": file_sha256(path)} for path in files}
    with atomic_write(folder / _STAMP, "w") as handle:
        json.dump({"sha256": sha256, "files": held}, handle, indent=1)


def _unchanged(folder: Path) -> str | None:
    """What `make` returned, if every file of the entry is still what it was; None otherwise."""
    try:
        stamp = json.loads((folder / _STAMP).read_text("utf-8"))
        moved = False
        for name, then in stamp["files"].items():
            facts = _facts(folder / name)
            if facts != then["facts"]:  # copied with the cache, perhaps: the bytes decide
                if facts[0] != then["facts"][0] or file_sha256(folder / name) != then["sha256"]:
                    return None
                then["facts"], moved = facts, True
        if moved:
            _remember(folder / _STAMP, stamp)
        return str(stamp["sha256"])
    except (OSError, ValueError, KeyError):
        return None


def _remember(path: Path, value: Any) -> None:
    with suppress(OSError):  # a read-only cache only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as handle:
            json.dump(value, handle, indent=1)


def _make_cache(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
