"""`ullme evaluate FILE`."""

from __future__ import annotations

import argparse
import time

from ullme.cli.run import add_arguments as add_run_arguments

SUMMARY = "The evaluators of FILE on its trained model, or on the model directory that --model names."
EXAMPLE = "ullme evaluate examples/quickstart.yaml\nullme evaluate my-tasks.yaml --model runs/quickstart/model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `run`, and a model."""
    add_run_arguments(parser)
    parser.add_argument("--model", metavar="DIR", help="a model directory to score instead of the file's own model")


def run(args: argparse.Namespace) -> int:
    """Reports of every evaluator, as they are after training, in the output folder and as a table."""
    from ullme.cli.summary import show
    from ullme.config.load import load_pipeline
    from ullme.errors import ConfigError
    from ullme.run import Runner

    started = time.monotonic()
    pipeline = load_pipeline(args.file, args.overrides)
    if not pipeline.evaluate:
        raise ConfigError(f"{args.file}: `evaluate:` lists nothing to run")
    if not any("after" in choice.config.when for choice in pipeline.evaluate):
        raise ConfigError(f"{args.file}: no evaluator has `after` in its `when`")
    embedder = None
    if args.model:
        from pathlib import Path

        from ullme.model.embedder import Embedder

        embedder = Embedder.from_directory(args.model)
        output = pipeline.output / "models" / f"{Path(args.model).resolve().name}-{embedder.fingerprint()}"
        pipeline = pipeline.model_copy(update={"output": output})
    runner = Runner(pipeline, frozen=args.frozen, progress=not args.no_progress)
    runner.evaluate("after", embedder)
    show(runner.outcome, pipeline.output, time.monotonic() - started)
    return 0
