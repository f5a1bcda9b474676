"""Vectors in files of a fixed number of rows, so that a stopped run continues: whole files are done, others are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ullme.atomic import atomic_write, locked
from ullme.errors import ConfigError, OutputError

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"


class Shards:
    """A folder of vectors-00000.npy, vectors-00001.npy ..., each `size` rows but the last, fp32.

    `manifest.json` says what they are vectors of; a run with the same `about` continues, another one is refused.
    Raises ConfigError for that and where another process is at work, OutputError where nothing can be written.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, rows: int, size: int, overwrite: bool) -> None:
        self.folder, self.rows, self.size = folder, rows, size
        try:
            folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise OutputError(f"cannot make {folder}: {exc.strerror}") from exc
        self._lock: IO[str] = locked(folder, f"output {folder}")
        for leftover in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        manifest = {"about": dict(about), "rows": rows, "rows_per_file": size}
        if not (folder / MANIFEST).is_file() and any(folder.glob("*.npy")):
            raise ConfigError(f"-o {folder}: holds .npy files and no {MANIFEST}: name another folder")
        if overwrite:
            self._clear()
        elif (folder / MANIFEST).is_file():
            self._compare(manifest)
        with atomic_write(folder / MANIFEST, "w") as file:
            json.dump(manifest, file, indent=2)

    @property
    def count(self) -> int:
        """How many files there will be."""
        return -(-self.rows // self.size)

    @property
    def done(self) -> int:
        """How many files are there, counted from the first."""
        return next((i for i in range(self.count) if not self.path(i).is_file()), self.count)

    def path(self, number: int) -> Path:
        """The file of rows `number` * size and following."""
        return self.folder / f"vectors-{number:05d}.npy"

    def write(self, number: int, vectors: np.ndarray) -> None:
        """Add a file, whole or not at all."""
        import numpy as np

        with atomic_write(self.path(number)) as file:
            np.save(file, vectors)

    def join(self, output: Path, dimension: int) -> None:
        """All rows as one .npy file, one shard in memory at a time; the folder is gone afterwards."""
        import numpy as np

        header = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, dimension)}
        with atomic_write(output) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for number in range(self.count):
                part = np.load(self.path(number))
                expected = (min(self.size, self.rows - number * self.size), dimension)
                if part.shape != expected or part.dtype != np.float32:
                    raise ConfigError(
                        f"{self.path(number)}: expected {expected} float32, found {part.shape} {part.dtype}: remove it"
                        " and run the command again"
                    )
                file.write(part.astype("<f4", copy=False).data)
        self._lock.close()
        shutil.rmtree(self.folder)

    def _clear(self) -> None:
        for file in sorted(self.folder.glob("vectors-*.npy"), reverse=True):  # stopped here, the first are still there
            file.unlink()

    def _compare(self, manifest: Mapping[str, Any]) -> None:
        try:
            before = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            found = {**before["about"], "rows": before["rows"], "rows_per_file": before["rows_per_file"]}
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"{self.folder / MANIFEST}: damaged; --overwrite starts anew") from exc
        wanted = {**manifest["about"], "rows": manifest["rows"], "rows_per_file": manifest["rows_per_file"]}
        wrong = [
            f"{key}: {found.get(key)!r} there, {wanted[key]!r} here" for key in wanted if found.get(key) != wanted[key]
        ]
        if wrong:
            listed = "\n  ".join(wrong)
            raise ConfigError(
                f"{self.folder} holds vectors of another run, which this one cannot continue:\n  {listed}\n"
                "  --overwrite starts anew; or name another output."
            )


def rows_per_file(folder: Path) -> int | None:
    """What the run that is begun in `folder` has chosen, if there is one."""
    try:
        return int(json.loads((folder / MANIFEST).read_text("utf-8"))["rows_per_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
