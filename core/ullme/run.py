"""A pipeline from start to end: evaluate, train by stages, evaluate, export; each step once, resumed where it stopped.

OUTPUT/ullme.yaml, plugins.lock     what this run is
OUTPUT/before, after/N-NAME/        one folder an evaluator, with report.json
OUTPUT/stages/N-NAME/               checkpoints, metrics.csv, curves.png; done.json and trained.safetensors at the end
OUTPUT/model/ ...                   one folder an exporter
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.atomic import atomic_write
from ullme.data.prepare import describe, load_source
from ullme.errors import ConfigError
from ullme.export import export
from ullme.plugins.blame import blamed
from ullme.plugins.hooks import HookCaller
from ullme.run_directory import claim, remember_data
from ullme.types import EvalContext, EvalReport, Example

if TYPE_CHECKING:
    from ullme.config.schema import Pipeline, StageConfig
    from ullme.config.slots import Choice
    from ullme.model.embedder import Embedder
    from ullme.train.fit import StageRun, StageSummary

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run has to show: reports in order, a summary per stage, exported folders."""

    reports: list[EvalReport] = field(default_factory=list)
    stages: dict[str, StageSummary] = field(default_factory=dict)
    exports: list[Path] = field(default_factory=list)


class Runner:
    """Runs the steps of a pipeline in its output folder. Steps that left their result there are not run again."""

    def __init__(self, pipeline: Pipeline, *, frozen: bool = False, progress: bool = True, say: Say = print) -> None:
        self.pipeline = pipeline
        self.progress = progress
        self.say = say
        self.hooks = HookCaller((c.name, f"{c.record.dist} {c.record.version}", c.build()) for c in pipeline.hooks)
        self.hooks.call("ullme_config_ready", pipeline=pipeline)
        self._claim = claim(pipeline, frozen=frozen, say=say)
        self.outcome = Outcome()
        self._embedder: Embedder | None = None
        self._trained = 0
        """How many stages the embedder at hand has behind it."""

    def run(self) -> Outcome:
        """Everything that the pipeline names. What can be refused is refused before anything is computed."""
        data = self._checked_data()
        self.evaluate("before")
        self.train(data)
        self.evaluate("after")
        self.export()
        return self.outcome

    # ---- steps ----------------------------------------------------------------------------------------------------

    def train(self, data: dict[str, list[Example]] | None = None) -> None:
        """Every stage, in order; a finished one is read back. Data that a loss cannot use is refused before weights."""
        from ullme.train.fit import StageRun, StageSummary, fit

        data = self._checked_data() if data is None else data
        for number, stage in enumerate(self.pipeline.stages):
            folder = self._stage_folder(stage)
            if self._done(stage):
                summary = StageSummary(**json.loads((folder / "done.json").read_text("utf-8")))
                self.say(f"stage {stage.name}: finished before ({summary.steps} steps)")
            else:
                examples = data[stage.name]
                remember_data(folder, examples)
                run = StageRun(stage, self.embedder(number), examples, folder, self.pipeline.seed, self._original)
                for found in self.hooks.call("ullme_train_callbacks", run=run):
                    run.callbacks.extend(found)
                self.hooks.call("ullme_before_train", run=run)
                counts = describe(examples)
                rows = f"{counts['rows']} rows, {counts['passages']} passages"
                self.say(f"stage {stage.name}: {rows}, {stage.trainer.max_steps} steps")
                self._trained = number + 1
                summary = fit(run, progress=self.progress, on_built=self._built)
                self._finish(run, summary)
            self.outcome.stages[stage.name] = summary

    def evaluate(self, when: str, embedder: Embedder | None = None) -> None:
        """Every evaluator that asks for this moment; a report found on disk is not made again."""
        from ullme.evaluation import REPORT, read_report, write_report

        for number, choice in enumerate(self.pipeline.evaluate, 1):
            if when not in choice.config.when:
                continue
            folder = self.pipeline.output / when / f"{number}-{choice.name}"
            if (folder / REPORT).is_file():
                report = read_report(folder / REPORT)
            else:
                self.say(f"evaluating {when} training: {choice.name}")
                model = embedder or self.embedder(0 if when == "before" else None)
                folder.mkdir(parents=True, exist_ok=True)
                with blamed(choice.who):
                    context = EvalContext(folder, when, self.pipeline.seed, self.progress)
                    report = self._build(choice).evaluate(model, context)
                self.hooks.call("ullme_after_evaluate", report=report)
                write_report(report, folder / REPORT)
            self.outcome.reports.append(report)

    def export(self) -> None:
        """Every exporter, each into a folder that appears whole."""
        for choice in self.pipeline.export:
            target = self.pipeline.output / (choice.config.folder or choice.name)
            if not target.is_dir():
                with blamed(choice.who):
                    export(self._build(choice), self.embedder(), target, run_dir=self.pipeline.output, say=self.say)
            self.outcome.exports.append(target)

    # ---- the model at a moment ------------------------------------------------------------------------------------

    def embedder(self, trained: int | None = None) -> Embedder:
        """The model with the first `trained` stages behind it (default: all). Raises ConfigError if one has not run."""
        from ullme.model.trained import TRAINED, read_trained

        stages = self.pipeline.stages
        trained = len(stages) if trained is None else trained
        for stage in stages[:trained]:
            if not self._done(stage):
                raise ConfigError(f"stage {stage.name!r} is not trained yet: `ullme run` (or `train`) the file first")
        if self._embedder is None or self._trained > trained:
            self._embedder, self._trained = self._original(), 0
        if self._trained < trained:
            read_trained(self._embedder, self._stage_folder(stages[trained - 1]) / TRAINED)
            self._trained = trained
        return self._embedder

    def _original(self) -> Embedder:
        """The model before any training, built anew."""
        from ullme.model.build import build_embedder

        backbone = self.pipeline.model.backbone
        self.say(f"loading {backbone.name} {backbone.config.path or ''}".rstrip())
        return build_embedder(self.pipeline.model, seed=self.pipeline.seed, on_built=self._built)

    def _done(self, stage: StageConfig) -> bool:
        return (self._stage_folder(stage) / "done.json").is_file()

    def _build(self, choice: Choice) -> Any:
        component = choice.build()
        self._built(choice.kind, choice.name, component)
        return component

    def _built(self, kind: str, name: str, component: Any) -> None:
        self.hooks.call("ullme_component_built", kind=kind, name=name, component=component)

    def _checked_data(self) -> dict[str, list[Example]]:
        """The rows of every stage still to train, checked with losses and batch size before weights are read for it.

        Then, with the model at hand, whatever else would only fail after hours.
        """
        from ullme.train.batch import BatchPlan
        from ullme.train.losses import build_losses, check_checkpointing, check_data, check_model, check_precision

        pending = [stage for stage in self.pipeline.stages if not self._done(stage)]
        rows = {}
        for stage in pending:
            with blamed(stage.data.who):
                rows[stage.name] = load_source(self._build(stage.data))
            check_data(stage.losses, rows[stage.name], stage.name)
            BatchPlan(len(rows[stage.name]), stage.trainer.batch_size, self.pipeline.seed)
        if pending:
            embedder = self.embedder(self.pipeline.stages.index(pending[0]))
            for stage in pending:
                check_model(build_losses(stage.losses), embedder, f"stage {stage.name!r}")
                check_precision(embedder, f"stage {stage.name!r}")
                check_checkpointing(embedder, stage.trainer, f"stage {stage.name!r}")
            for choice in self.pipeline.evaluate:
                choice.build().check(embedder)
        return rows

    def _stage_folder(self, stage: StageConfig) -> Path:
        return self.pipeline.output / "stages" / f"{self.pipeline.stages.index(stage) + 1}-{stage.name}"

    def _finish(self, run: StageRun, summary: StageSummary) -> None:
        """The stage's weights, the hooks, then the marker that says that all of it is there."""
        from safetensors.torch import save

        from ullme.train.progress import draw_curves

        weights = {name: parameter.detach().cpu().contiguous() for name, parameter in run.embedder.trainable().items()}
        with atomic_write(run.out_dir / "trained.safetensors") as file:
            file.write(save(weights))
        draw_curves(run.out_dir / "metrics.csv", run.out_dir / "curves.png")
        self.hooks.call("ullme_after_train", run=run)
        with atomic_write(run.out_dir / "done.json", "w") as file:
            json.dump(dataclasses.asdict(summary), file, indent=1)
