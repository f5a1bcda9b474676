"""Run one task with one model, or read back what an earlier run of the same model on the same data found."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme_plugins.evaluators._plans import Plan, load, spoken
from ullme_plugins.evaluators._surroundings import quiet

if TYPE_CHECKING:
    from ullme_plugins.evaluators._encoder import Encoder

_PYTREC = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}


@dataclass(frozen=True)
class Record:
    """The result of one task. `per_query` holds the main score by split/subset and query, for retrieval tasks.

    `value` is the mean over splits and subsets, `scores` everything that mteb computed, `texts` how many texts were
    embedded in each role, `prompts` the instruction of each role.
    """

    task: str
    metric: str
    value: float
    identity: dict[str, Any]
    scores: dict[str, Any]
    per_query: dict[str, dict[str, float]]
    texts: dict[str, int]
    prompts: dict[str, str]
    empty_texts: int
    seconds: float
    superseded_by: str | None


def score(plan: Plan, encoder: Encoder, folder: Path, *, progress: bool) -> tuple[Record, list[Path]]:
    """The record of a task and its files: mteb's own JSON, and TASK.record.json, written last and read back later.

    A record counts only for the same data, splits and version of mteb; the folder is that of one model's fingerprint.
    """
    result_file, record_file = folder / f"{plan.name}.json", folder / f"{plan.name}.record.json"
    if record_file.is_file():
        record = Record(**json.loads(record_file.read_text("utf-8")))
        if record.identity == json.loads(json.dumps(plan.identity)):
            return record, [result_file, record_file]
    folder.mkdir(parents=True, exist_ok=True)
    record, result = _run(plan, encoder, progress)
    for file, content in ((result_file, result), (record_file, dataclasses.asdict(record))):
        _write(file, content)
    return record, [result_file, record_file]


def by_language(scores: Mapping[str, Any], asked: Sequence[str] | None) -> dict[str, float]:
    """The mean main score of the subsets that contain a language, of all splits; every language if none is asked for.

    A subset of two languages (`en-de`) counts for both, as in the tables of multilingual benchmarks.
    """
    subsets = [subset for split in scores.values() for subset in split]
    found = {language.partition("-")[0] for subset in subsets for language in subset["languages"]}
    means = {}
    for name in asked or sorted(found):
        values = [s["main_score"] for s in subsets if any(spoken(name, language) for language in s["languages"])]
        if values:
            means[name] = math.nan if None in values else sum(values) / len(values)
    return means


def _run(plan: Plan, encoder: Encoder, progress: bool) -> tuple[Record, dict[str, Any]]:
    import mteb

    task = plan.make()
    with nullcontext() if progress else quiet():
        load(task)
    per_query = _watch(task)
    start = time.monotonic()
    options = {"batch_size": 256, "show_progress_bar": False}
    # Without mteb's cache: it would return scores without comparing the data they were computed from.
    with quiet():
        results = mteb.evaluate(
            encoder, task, co2_tracker=False, cache=None, encode_kwargs=options, show_progress_bar=False
        )
    result = results.task_results[0]
    record = Record(
        task=plan.name,
        metric=task.metadata.main_score,
        value=float(result.get_score()),
        identity=plan.identity,
        scores=_plain(result.scores),
        per_query=per_query,
        texts=encoder.texts,
        prompts=encoder.prompts,
        empty_texts=encoder.empty_texts,
        seconds=round(time.monotonic() - start, 3),
        superseded_by=task.metadata.superseded_by,
    )
    return record, _plain(result.model_dump(mode="json"))


def _watch(task: Any) -> dict[str, dict[str, float]]:
    """Where the main score of every query will be found after the run: mteb shows these to a task, then drops them."""
    caught: dict[str, dict[str, float]] = {}
    name, _, depth = task.metadata.main_score.partition("_at_")
    if hasattr(task, "task_specific_scores") and name in _PYTREC and re.fullmatch(r"\d+", depth):
        measure, own = f"{_PYTREC[name]}_{depth}", task.task_specific_scores

        def watching(scores: dict[str, dict[str, float]], *args: Any, hf_split: str, hf_subset: str) -> Any:
            caught[f"{hf_split}/{hf_subset}"] = {query: found[measure] for query, found in scores.items()}
            return own(scores, *args, hf_split=hf_split, hf_subset=hf_subset)

        task.task_specific_scores = watching
    return caught


def _plain(value: Any) -> Any:
    """What JSON can hold: mteb gives numpy numbers, and NaN where a measure is undefined, which becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if math.isfinite(value) else None


def _write(file: Path, content: Any) -> None:
    beside = file.with_name(f".{file.name}.tmp")
    beside.write_text(json.dumps(content, indent=1), "utf-8")
    os.replace(beside, file)
