"""Reports of evaluators: on disk, and side by side in a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from ullme.atomic import atomic_write
from ullme.types import EvalReport, Score

REPORT = "report.json"


def write_report(report: EvalReport, path: Path) -> None:
    """A report as JSON, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump(dataclasses.asdict(report), file, indent=1, default=str, ensure_ascii=False)


def read_report(path: Path) -> EvalReport:
    """A report as `write_report` left it."""
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
