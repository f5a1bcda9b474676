"""One stage, from the last checkpoint or from its beginning, to trained weights."""

from __future__ import annotations

import logging
import resource
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.errors import ConfigError, TrainingError
from ullme.model.embedder import Embedder
from ullme.train.checkpoint import AtomicCheckpointIO, checkpoints_every, newest
from ullme.train.losses import build_losses, check_checkpointing, check_model
from ullme.train.module import StageModule
from ullme.train.progress import Metrics, Progress
from ullme.types import Example

if TYPE_CHECKING:
    from ullme.config.schema import StageConfig
    from ullme.config.slots import OnBuilt


@dataclass(frozen=True)
class StageRun:
    """A stage about to train or trained: what the training hooks are given."""

    stage: StageConfig
    embedder: Embedder
    examples: Sequence[Example]
    out_dir: Path
    seed: int
    original: Callable[[], Embedder]
    """Makes the model as it was before any stage: the reference of losses that compare with one."""
    callbacks: list[Any] = field(default_factory=list)
    """Lightning callbacks that hooks contributed."""


@dataclass(frozen=True)
class StageSummary:
    """Plain numbers of a finished stage. Speed leaves out the first step; memory is the process's peak."""

    steps: int
    rows: int
    tokens_per_second: float
    seconds_per_step: float
    peak_memory_gb: float
    truncated: int
    texts: int


def fit(run: StageRun, *, progress: bool = True, on_built: OnBuilt | None = None) -> StageSummary:
    """Train `run.embedder` in place, resuming from the newest checkpoint in `run.out_dir`.

    Raises TrainingError for a loss that is not finite or a foreign checkpoint, KeyboardInterrupt on Ctrl-C.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer

    trainer_config, embedder = run.stage.trainer, run.embedder
    home = embedder.device
    losses = build_losses(run.stage.losses, on_built)
    copied = check_model(losses, embedder, f"stage {run.stage.name!r}")
    check_checkpointing(embedder, trainer_config, f"stage {run.stage.name!r}")
    if trainer_config.gradient_checkpointing:
        model: Any = embedder.loaded.model
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    reference = run.original().requires_grad_(False) if copied else None
    module = StageModule(embedder.train(), losses, run.examples, run.stage, run.seed, reference)

    checkpoints = run.out_dir / "checkpoints"
    step, start = newest(checkpoints)
    metrics = Metrics(run.out_dir / "metrics.csv", step)
    shown = [Progress(trainer_config.max_steps)] if progress else []
    quiet()
    try:
        trainer = Trainer(
            max_steps=trainer_config.max_steps,
            max_epochs=-1,
            accelerator=trainer_config.accelerator,
            devices=1,
            precision=trainer_config.precision,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            plugins=[AtomicCheckpointIO()],
            callbacks=[
                metrics,
                *shown,
                checkpoints_every(trainer_config.checkpoint_every, checkpoints),
                *run.callbacks,
            ],
        )
    except (MisconfigurationException, ValueError) as exc:
        raise ConfigError(
            f"stage {run.stage.name!r}: trainer.accelerator {trainer_config.accelerator!r}: {exc}"
        ) from exc
    try:
        trainer.fit(module, _steps(trainer_config.max_steps), ckpt_path=start and str(start), weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning ends the process itself after Ctrl-C
            raise KeyboardInterrupt from None
        raise
    if trainer.global_step < trainer_config.max_steps:
        raise TrainingError(
            f"stage {run.stage.name!r} stopped at step {trainer.global_step} of {trainer_config.max_steps}"
        )
    embedder.eval().to(home)  # Lightning leaves the weights on the CPU
    return _summary(trainer.global_step, len(run.examples), metrics.rows)


def _summary(steps: int, rows: int, metrics: Sequence[Mapping[str, float]]) -> StageSummary:
    """Means and sums over the recorded steps; a lost `metrics.csv` costs the numbers, not the run."""

    def total(name: str, of: Sequence[Mapping[str, float]]) -> float:
        return sum(row[name] for row in of)

    timed = metrics[1:] or metrics
    seconds = total("seconds", timed)
    return StageSummary(
        steps=steps,
        rows=rows,
        tokens_per_second=total("tokens", timed) / seconds if timed else 0.0,
        seconds_per_step=seconds / len(timed) if timed else 0.0,
        peak_memory_gb=peak_memory_gb(),
        truncated=int(total("truncated", metrics)),
        texts=int(total("texts", metrics)),
    )


def _steps(count: int) -> Any:
    """A loader that only counts: which rows a step sees follows from its number."""
    from torch.utils.data import DataLoader

    numbers: Any = range(count)
    return DataLoader(numbers, batch_size=None)


def peak_memory_gb() -> float:
    """The largest resident size that this process has had, in GB (1e9 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def quiet() -> None:
    """Lightning's notices about devices, loaders and tips are not ours to show."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
