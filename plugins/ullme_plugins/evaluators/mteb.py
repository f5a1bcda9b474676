"""Scores by mteb (arXiv:2210.07316)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from ullme import EvalContext, EvalReport, Evaluator, ModelConfig, Score
from ullme_plugins.evaluators._bootstrap import interval
from ullme_plugins.evaluators._local import LocalTask

if TYPE_CHECKING:
    from ullme import Embedder
    from ullme_plugins.evaluators._plans import Plan
    from ullme_plugins.evaluators._score import Record


class MTEB(Evaluator):
    """Any mteb task by name, or one built from your own data.

    Every task gives its main score; retrieval tasks with an interval over queries. A result is kept in the output
    folder under the model's fingerprint and read back only for the same model, data and version of mteb.
    """

    class Config(Evaluator.Config):
        tasks: list[str] = Field([], description="names of mteb tasks; their data comes from the hub")
        languages: list[str] | None = Field(None, description="of multilingual tasks: eng, deu ... or eng-Latn")
        splits: list[str] | None = Field(None, description="of mteb tasks; default: test, or all where there is none")
        local: list[LocalTask] = Field([], description="tasks from files or a data source")
        compare: dict[str, ModelConfig] = Field({}, description="other models by name, to score once, after training")
        bootstrap: int = Field(1000, ge=0, description="resamples for the 95% interval over queries; 0: none")
        max_tokens: int | None = Field(None, gt=0, description="tokens per text; default: the model's max_tokens")
        batch_tokens: int = Field(4096, gt=0, description="padded tokens a model call")

        @model_validator(mode="after")
        def _distinct_names(self) -> MTEB.Config:
            names = [*self.tasks, *(task.name for task in self.local)]
            if not names:
                raise ValueError("expected at least one task, under `tasks` or `local`")
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"two tasks are called {repeated[0]!r}")
            return self

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._given: dict[str, Any] = {}

    def provide(self, task: Any) -> None:
        """Run this task object where `tasks` names it: one of your own, or of mteb's with its data elsewhere."""
        self._given[task.metadata.name] = task

    def evaluate(self, embedder: Embedder, context: EvalContext) -> EvalReport:
        """Scores in 0..1 as mteb gives them, of `embedder` and, after training, of the models under `compare`.

        Under `details`, every task has the mean over the subsets that contain a language, by language.

        Raises ConfigError for an unknown task and DataError or AssetError for data that cannot be used or had.
        """
        from importlib.metadata import version

        from ullme import build_embedder
        from ullme_plugins.evaluators._plans import plans
        from ullme_plugins.evaluators._surroundings import mteb_imported, same_random_state

        config = self.config
        report = EvalReport("mteb", context.when, details={"mteb": version("mteb"), "compare": {}})
        with same_random_state(), mteb_imported():
            todo = plans(config.tasks, config.local, config.languages, config.splits, self._given)
            fingerprint = embedder.fingerprint()
            records = self._score_all(todo, embedder, fingerprint, "", context, report)
            report.details |= {
                "fingerprint": fingerprint,
                "prompts": {record.task: record.prompts for record in records},
                "empty_texts": sum(record.empty_texts for record in records),
                "tasks": {record.task: _details(record, config.languages) for record in records},
            }
            for name, model in config.compare.items() if context.when == "after" else ():
                other = build_embedder(model, seed=context.seed).to(embedder.device)
                records = self._score_all(todo, other, other.fingerprint(), name, context, report)
                details = {record.task: _details(record, config.languages) for record in records}
                report.details["compare"][name] = details
        return report

    def _score_all(
        self,
        todo: list[Plan],
        embedder: Embedder,
        fingerprint: str,
        name: str,
        context: EvalContext,
        report: EvalReport,
    ) -> list[Record]:
        from ullme_plugins.evaluators._encoder import Encoder
        from ullme_plugins.evaluators._score import score
        from ullme_plugins.evaluators._surroundings import progress_bars

        config, records = self.config, []
        revision = fingerprint + (f"-{config.max_tokens}" if config.max_tokens else "")
        for plan in todo:
            encoder = Encoder(
                embedder,
                name or "model",
                revision,
                instructions=plan.instructions,
                max_tokens=config.max_tokens,
                batch_tokens=config.batch_tokens,
                show=progress_bars(context.progress),
            )
            record, files = score(plan, encoder, context.out_dir / "results" / revision, progress=context.progress)
            low, high = self._interval(record, context.seed)
            report.scores.append(Score(plan.name, record.metric, record.value, low, high, model=name))
            report.files += files
            records.append(record)
        return records

    def _interval(self, record: Record, seed: int) -> tuple[float, float] | tuple[None, None]:
        if not self.config.bootstrap or not record.per_query:
            return None, None
        groups = [list(values.values()) for values in record.per_query.values()]
        return interval(groups, self.config.bootstrap, seed)


def _details(record: Record, languages: list[str] | None) -> dict[str, Any]:
    """What a report says of a task. The scores of single queries stay in the task's file."""
    from ullme_plugins.evaluators._score import by_language

    found = dataclasses.asdict(record) | {"languages": by_language(record.scores, languages)}
    for name in ("task", "per_query"):
        del found[name]
    return found
