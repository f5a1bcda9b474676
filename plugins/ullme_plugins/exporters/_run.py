"""What a run directory says of the model that came out of it, as far as it is there."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Stage:
    """One stage of training: its section of the YAML, and what was measured."""

    name: str
    section: dict[str, Any]
    rows: int | None = None
    steps: int | None = None
    sha256: str | None = None
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    """First and last value of every loss, means over a tenth of the steps."""


@dataclass(frozen=True)
class Run:
    """A run: resolved pipeline, stages in order, reports by moment."""

    pipeline: dict[str, Any]
    stages: list[Stage]
    reports: list[dict[str, Any]]


def read_run(folder: Path | None) -> Run | None:
    """The run in `folder`; None where it holds none."""
    if folder is None or not (folder / "ullme.yaml").is_file():
        return None
    pipeline = yaml.safe_load((folder / "ullme.yaml").read_text("utf-8"))
    if not isinstance(pipeline, dict) or "stages" not in pipeline:
        return None
    stages = [
        _stage(section, folder / "stages" / f"{number}-{section['name']}")
        for number, section in enumerate(pipeline["stages"] or [], 1)
    ]
    return Run(pipeline, stages, [*_reports(folder / "before"), *_reports(folder / "after")])


def copy_results(folder: Path | None, target: Path) -> bool:
    """Reports and scores of the trained model as JSON, below `target`. Whether there were any."""
    files = [] if folder is None else [path for path in sorted((folder / "after").rglob("*.json")) if path.is_file()]
    for path in files:
        place = target / path.relative_to(folder / "after")  # type: ignore[operator]
        if path.name == "report.json":
            place = place.parent.with_name(f"{place.parent.name}.json")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return bool(files)


def _stage(section: dict[str, Any], folder: Path) -> Stage:
    done, data = _json(folder / "done.json"), _json(folder / "data.json")
    return Stage(
        section["name"],
        section,
        data.get("rows"),
        done.get("steps"),
        data.get("sha256"),
        _curves(folder / "metrics.csv"),
    )


def _curves(path: Path) -> dict[str, tuple[float, float]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for name in rows[0] if rows else ():
        values = [float(row[name]) for row in rows if re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", row[name] or "")]
        if (name == "loss" or name.startswith("loss")) and values:
            few = max(1, len(values) // 10)
            found[name] = (sum(values[:few]) / few, sum(values[-few:]) / few)
    return found


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*/report.json")):
        if report := _json(path):
            yield report


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
