"""The end of a run: what was measured, before and after, and where everything lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ullme.run import Outcome
    from ullme.types import Score


def show(outcome: Outcome, output: Path, seconds: float) -> None:
    """Print the tables and write the same text to `output/summary.txt`."""
    import sys

    from rich.console import Console

    from ullme.atomic import atomic_write

    console = Console(record=True, file=sys.stdout, width=None if sys.stdout.isatty() else 130)
    _print(console, outcome, output, seconds)
    with atomic_write(output / "summary.txt", "w") as file:
        file.write(console.export_text())


def _print(console: Console, outcome: Outcome, output: Path, seconds: float) -> None:
    from rich.table import Table

    from ullme.evaluation import table

    rows = table(outcome.reports)
    if rows:
        grid = Table(title="scores", title_justify="left")
        for name in ("task", "metric", "model"):
            grid.add_column(name)
        for name in ("before", "after", "change"):
            grid.add_column(name, justify="right")
        for score, moments in rows:
            before, after = moments.get("before"), moments.get("after")
            grid.add_row(score.task, score.metric, score.model, _number(before), _number(after), _change(before, after))
        console.print(grid)
    for number, (name, stage) in enumerate(outcome.stages.items(), 1):
        console.print(
            f"stage {name}: {stage.steps} steps on {stage.rows} rows, {stage.seconds_per_step:.1f} s a step, "
            f"{stage.tokens_per_second:.0f} tokens/s, peak memory {stage.peak_memory_gb:.2f} GB, "
            f"{stage.truncated} of {stage.texts} texts truncated",
            highlight=False,
        )
        console.print(f"  loss curves: {output / 'stages' / f'{number}-{name}' / 'curves.png'}", highlight=False)
    for folder in outcome.exports:
        own = (folder / "ullme.yaml").is_file()
        use = f"ullme encode {folder} texts.txt -o vectors.npy" if own else f"ullme verify {folder}"
        console.print(f"model: {folder}   ({use})", highlight=False)
    console.print(f"{int(seconds // 60)} min {seconds % 60:.0f} s in all; everything is in {output}", highlight=False)


def _number(score: Score | None) -> str:
    if score is None:
        return ""
    interval = "" if score.low is None or score.high is None else f" [{score.low:.3f}, {score.high:.3f}]"
    return f"{score.value:.3f}{interval}"


def _change(before: Score | None, after: Score | None) -> str:
    if before is None or after is None:
        return ""
    change = after.value - before.value
    good = change >= 0 if after.higher_is_better else change <= 0
    return f"{change:+.3f}" + ("" if good else " (worse)")
