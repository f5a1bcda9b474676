"""`ullme train FILE`."""

from __future__ import annotations

import argparse
import time

from ullme.cli.run import add_arguments

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "Only the training stages of FILE, and its exports."
EXAMPLE = "ullme train examples/quickstart.yaml"


def run(args: argparse.Namespace) -> int:
    """Stages and exports; no evaluator runs."""
    from ullme.cli.summary import show
    from ullme.config.load import load_pipeline
    from ullme.run import Runner

    started = time.monotonic()
    pipeline = load_pipeline(args.file, args.overrides)
    runner = Runner(pipeline, frozen=args.frozen, progress=not args.no_progress)
    runner.train()
    runner.export()
    show(runner.outcome, pipeline.output, time.monotonic() - started)
    return 0
