"""Paths on this machine, told apart from hub ids."""

import difflib
import os
import re
from pathlib import Path

from ullme.assets.cache import known_sha256, sha256_mismatch
from ullme.errors import AssetError

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# Hub ids hold dots too (Qwen2.5-0.5B): only these endings say "file".
_FILE_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".gz", ".parquet")


def local_path(text: str, sha256: str | None) -> Path | str:
    """`text` as a Path if it is there, as str if it can be a hub id. Raises AssetError if it is neither."""
    path = Path(os.path.expanduser(text))
    if text and path.exists():
        if sha256 is not None:
            _verify(path, sha256)
        return path
    if not text or _means_a_path(text):
        raise AssetError(_missing(text, path))
    if sha256 is not None:
        raise AssetError(f"{text}: a hub id has no sha256 to check; pin it with `revision` instead")
    return text


def _means_a_path(text: str) -> bool:
    if text.startswith((".", "~", os.sep)) or text.lower().endswith(_FILE_ENDINGS):
        return True
    return not _HUB_ID.fullmatch(text) or (os.sep in text and Path(text).parts[0] in os.listdir())


def _verify(path: Path, sha256: str) -> None:
    if path.is_dir():
        raise AssetError(f"{path}: a folder has no sha256; pin a file, or a `pypi:` path (there the wheel is checked)")
    found = known_sha256(path)
    if found != sha256:
        raise AssetError(sha256_mismatch(str(path), sha256, found))


def _missing(text: str, path: Path) -> str:
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    siblings = sorted(os.listdir(parent))
    close = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f" Did you mean {' or '.join(repr(str(parent / name)) for name in close)}?" if close else ""
    place = "" if path.is_absolute() else f" (looked from {Path.cwd()})"
    return (
        f"{text!r}: no such file or folder{place}.{hint}\n"
        "  Expected a local path, a hub id such as org/name, or pypi:PROJECT==VERSION/FILE."
    )
