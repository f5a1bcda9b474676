"""One exporter at work: a folder that appears whole, read back and compared with the model first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.atomic import atomic_dir
from ullme.types import ExportContext

if TYPE_CHECKING:
    from ullme.interfaces import Exporter
    from ullme.model.embedder import Embedder


def export(
    exporter: Exporter,
    embedder: Embedder,
    target: Path,
    *,
    run_dir: Path | None = None,
    dtype: Any = None,
    say: Callable[[str], None] = print,
) -> None:
    """Write `embedder` to `target` in the exporter's format, weights in `dtype` (default: as they are).

    Raises ExportError for what the format cannot express and for a copy that gives other vectors when it is read back;
    `target` is then as it was.
    """
    from ullme.model.faithful import require_faithful
    from ullme.model.reference import FILE, Tolerance, read_reference, reference

    wanted = reference(embedder)
    if dtype is not None and dtype != wanted.dtype:
        half = [name for name in (dtype, wanted.dtype) if name != "float32"]
        wanted = dataclasses.replace(wanted, dtype=dtype, tolerance=Tolerance.of(half[0]))
    with atomic_dir(target) as folder:
        exporter.export(embedder, folder, ExportContext(wanted, run_dir, dtype, say))
        if not (folder / FILE).is_file():
            wanted.write(folder)
        if exporter.reads(folder):
            copy = exporter.read(folder, str(embedder.device))
            require_faithful(copy, read_reference(folder), embedder, target, say)
        else:
            say(f"warning: {target}: nothing here reads this format back, so the copy was not compared with the model")
