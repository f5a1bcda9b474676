"""Evaluation as the paper's listing 3 has it: one task of the benchmark, a score per language in per cent.

    eval_mteb_dataset(model=model, dataset_name="MSMARCO", langs=["eng"])       # {"eng": 35.8}

The work is done by the evaluator plugin that the index names as `benchmark`. It takes `tasks`, `languages`,
`max_tokens`, `batch_tokens` and `bootstrap`, accepts a task object through `provide`, and reports scores by language,
from 0 to 1, under `details["tasks"][TASK]["languages"]`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from ullme.config.load import load_section
from ullme.config.section import Section
from ullme.config.slots import Choice, Slot
from ullme.errors import ConfigError
from ullme.plugins.blame import blamed
from ullme.types import EvalContext


class _Evaluation(Section):
    evaluator: Annotated[Choice, Slot("evaluator", "benchmark")]


def eval_mteb_dataset(
    model: Any,
    dataset_name: Any,
    langs: str | Sequence[str] = ("eng",),
    instruction: str = "",
    output_folder: str | Path | None = None,
    batch_size: int | None = None,
    max_length: int | None = None,
    *,
    progress: bool = False,
) -> dict[str, float]:
    """The main score of a task of mteb's, in per cent, by language: the mean over the subsets that contain it.

    Args:
        model: a `ULLME`, an `Embedder`, a SentenceTransformer, or anything whose `encode` makes vectors of a list of
            texts; `encode_query` and `encode_document`, or `encode_queries` and `encode_corpus`, are preferred.
        dataset_name: name of an mteb task, whose data come from the hub, or a task object of your own.
        langs: languages as mteb names them: eng, deu ... or eng-Latn.
        instruction: stands before queries, and before the texts of tasks without queries; default: the model's prompts.
        output_folder: where results stay, to be read back for the same weights and data; default: nowhere.
        batch_size: texts of the largest length that one model call may hold; default: the evaluator's.
        max_length: tokens kept of a text; default: the model's.
        progress: show bars.

    Raises ConfigError for a task or language that does not exist or a model that gives no vectors, and AssetError for
    data that cannot be had.
    """
    from ullme.model.views import Foreign, as_embedder

    encoder = as_embedder(model, instruction, max_length=max_length, batch_size=batch_size)
    named = isinstance(dataset_name, str)
    task = dataset_name if named else getattr(getattr(dataset_name, "metadata", None), "name", None)
    if not isinstance(task, str):
        raise ConfigError(f"dataset_name: expected the name of an mteb task, or a task, found {dataset_name!r}")
    languages = [langs] if isinstance(langs, str) else list(langs)
    settings: dict[str, Any] = {"tasks": [task], "languages": languages, "bootstrap": 0}
    if max_length is not None:
        settings["max_tokens"] = max_length
    if batch_size is not None and not isinstance(encoder, Foreign):
        settings["batch_tokens"] = batch_size * (max_length or encoder.config.max_tokens)
    choice = load_section(_Evaluation, {"evaluator": _chosen(settings)}, "eval_mteb_dataset").evaluator
    evaluator = choice.build()
    if not named:
        evaluator.provide(dataset_name)
    kept = tempfile.TemporaryDirectory() if output_folder is None else nullcontext(str(output_folder))
    with kept as folder, blamed(choice.who):
        report = evaluator.evaluate(encoder, EvalContext(Path(folder), progress=progress))
    found = report.details["tasks"][task]["languages"]
    return {language: 100 * found[language] for language in languages}


def _chosen(settings: dict[str, Any]) -> dict[str, Any]:
    from ullme.plugins.registry import Registry

    return {"use": Registry().index.defaults["benchmark"], **settings}
