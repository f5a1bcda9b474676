"""`ullme validate`: check a pipeline and say what it would do, building nothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ullme.config.schema import ModelConfig, Pipeline
    from ullme.config.slots import Choice

SUMMARY = "Check a YAML file against the plugins installed here, without building anything; every mistake is listed."
EXAMPLE = "ullme validate examples/quickstart.yaml\nullme validate my.yaml --set stages.0.trainer.lr=1e-4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file and its overrides."""
    parser.add_argument("file", metavar="FILE", help="pipeline in YAML")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The option `--set`, as `args.overrides`: shared by every command that reads a pipeline."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="PATH=VALUE",
        help="change one value, such as stages.0.losses.1.beta=0.2; VALUE is YAML; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Print a summary of the file. Raises ConfigError listing every mistake in it."""
    from ullme.config.load import load_pipeline

    pipeline = load_pipeline(args.file, args.overrides)
    print(f"{args.file}: ok")
    for title, text in _summary(pipeline):
        print(f"  {title:<9} {text}")
    return 0


def _summary(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    yield "model", _model(pipeline.model)
    for stage in pipeline.stages:
        trainer = stage.trainer
        work = f"{trainer.max_steps} steps of {trainer.batch_size} from {stage.data.name}: {_names(stage.losses)}"
        yield "stage", f"{stage.name}, {work}"
    for title, chosen in (("evaluate", pipeline.evaluate), ("export", pipeline.export), ("hooks", pipeline.hooks)):
        if chosen:
            yield title, _names(chosen)
    yield "output", str(pipeline.output)
    yield "plugins", _provided(pipeline)


def _model(model: ModelConfig) -> str:
    attention = f"attention {model.attention.embed.name} (likelihoods: {model.attention.generate.name})"
    weights = "all weights" if model.adapter is None else f"LoRA of rank {model.adapter.r}"
    return f"{model.backbone.name}, {attention}, pooler {model.pooler.name}, {weights}"


def _names(chosen: list[Choice]) -> str:
    return ", ".join(choice.name for choice in chosen)


def _provided(pipeline: Pipeline) -> str:
    """How many plugins each distribution provides."""
    from collections import Counter

    from ullme.config.slots import choices

    records = {choice.record for choice in choices(pipeline)}
    counts = Counter(f"{record.dist} {record.version}" for record in records)
    return ", ".join(f"{count} from {dist}" for dist, count in sorted(counts.items()))
