"""What a stage shows and records: a progress bar with the time left, one metrics row a step, the loss curves."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from ullme.atomic import atomic_write
from ullme.train.module import StageModule


class Progress(Callback):  # type: ignore[misc]
    """A rich bar: step, loss, tokens per second, time elapsed and left."""

    def __init__(self, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            speed_estimate_period=600,
        )
        self.total = total

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Draw the bar, at the resumed step."""
        self.task = self.bar.add_task(pl_module.stage.name, total=self.total, completed=trainer.global_step, note="")
        self.bar.start()

    def on_train_batch_end(self, trainer: Any, pl_module: StageModule, *_: Any) -> None:
        """Advance by one step."""
        self.bar.update(
            self.task, completed=trainer.global_step, note=f"loss {pl_module.result.loss:.3f}", refresh=True
        )

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the finished bar standing."""
        self.bar.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Give the terminal back."""
        self.bar.stop()


class Metrics(Callback):  # type: ignore[misc]
    """`metrics.csv`: one row a step. Of an earlier attempt, the rows up to the step that is resumed are kept."""

    def __init__(self, path: Path, resumed: int) -> None:
        self.path = path
        self.rows = _rows(path, resumed)
        if self.rows:
            with atomic_write(self.path, "w") as file:
                writer = csv.DictWriter(file, self.rows[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)
        elif self.path.exists():
            self.path.unlink()

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the step's clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: StageModule, *_: Any) -> None:
        """Append the step's row."""
        result = pl_module.result
        row = {
            "step": float(trainer.global_step),
            "loss": result.loss,
            **{f"loss/{name}": value for name, value in result.losses.items()},
            **result.metrics,
            "lr": pl_module.learning_rate,
            "grad_norm": pl_module.grad_norm,
            "tokens": float(result.tokens),
            "texts": float(result.texts),
            "truncated": float(result.truncated),
            "seconds": time.perf_counter() - self.started,
        }
        self.rows.append(row)
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def _rows(path: Path, last: int) -> list[dict[str, float]]:
    """Whole rows of steps up to `last`: a killed process may have left half a line, a lost one fewer lines."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            try:
                row = {key: float(value) for key, value in line.items()}
            except (TypeError, ValueError):
                continue
            if row["step"] <= last:
                rows.append(row)
    return rows


def draw_curves(metrics: Path, path: Path) -> None:
    """One panel a loss, against the step, as PNG, from a `metrics.csv`; nothing if that is gone."""
    rows = _rows(metrics, sys.maxsize)
    if not rows:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ["loss", *(name for name in rows[0] if name.startswith("loss/"))]
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot([row["step"] for row in rows], [row[name] for row in rows], marker="." if len(rows) < 100 else "")
        axis.set(title="weighted sum" if name == "loss" else name.removeprefix("loss/"), xlabel="step")
        axis.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
