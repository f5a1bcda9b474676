"""Checkpoints that are whole or absent: written to a temporary name, synced, renamed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ullme.atomic import atomic_write

_NAME = re.compile(r"step-(\d+)\.ckpt$")


class AtomicCheckpointIO(TorchCheckpointIO):  # type: ignore[misc]
    """Lightning's checkpoint files, never half-written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`. Raises OutputError and leaves older files alone if that fails."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)


def checkpoints_every(steps: int, folder: Path) -> ModelCheckpoint:
    """The callback that keeps the two newest checkpoints, one every `steps` steps."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="step-{step:08.0f}",
        auto_insert_metric_name=False,
        monitor="step",
        mode="max",
        save_top_k=2,
        every_n_train_steps=steps,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def newest(folder: Path) -> tuple[int, Path | None]:
    """The latest step in `folder` and its checkpoint; 0 and None where there is none."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.ckpt") if (match := _NAME.search(path.name))]
    return max(found, default=(0, None))
