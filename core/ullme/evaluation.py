"""Run evaluators on an embedder; one report each, on disk before the next begins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ullme.atomic import atomic_write
from ullme.types import EvalContext, EvalReport, Score

if TYPE_CHECKING:
    from ullme.interfaces import Evaluator
    from ullme.model.embedder import Embedder

REPORT = "report.json"


def evaluate(evaluator: Evaluator, embedder: Embedder, context: EvalContext) -> EvalReport:
    """The report of one evaluator, also written to `context.out_dir`."""
    context.out_dir.mkdir(parents=True, exist_ok=True)
    report = evaluator.evaluate(embedder, context)
    with atomic_write(context.out_dir / REPORT, "w") as file:
        json.dump(dataclasses.asdict(report), file, indent=1, default=str, ensure_ascii=False)
    return report


def read_report(path: Path) -> EvalReport:
    """A report as `evaluate` wrote it."""
    data = json.loads(path.read_text("utf-8"))
    scores = [Score(**score) for score in data["scores"]]
    return EvalReport(data["evaluator"], data["when"], scores, data["details"], [Path(file) for file in data["files"]])


def table(reports: Sequence[EvalReport]) -> list[tuple[Score, dict[str, Score]]]:
    """Rows (task, metric, model) with their score by moment (`before`, `after`), in the order they were found."""
    rows: dict[tuple[str, str, str], dict[str, Score]] = {}
    for report in reports:
        for score in report.scores:
            rows.setdefault((score.task, score.metric, score.model), {})[report.when] = score
    return [(next(iter(moments.values())), moments) for moments in rows.values()]
