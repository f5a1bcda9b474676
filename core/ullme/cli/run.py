"""`ullme run FILE`."""

from __future__ import annotations

import argparse
import time

from ullme.cli.validate import add_overrides

SUMMARY = "Train, evaluate and export as FILE says. Run it again to continue where it stopped."
EXAMPLE = (
    "ullme run examples/quickstart.yaml\nullme run my.yaml --set stages.0.trainer.lr=1e-4 --set output=runs/lr1e-4"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments shared by `run` and `train`."""
    parser.add_argument("file", metavar="FILE", help="a YAML pipeline")
    add_overrides(parser)
    parser.add_argument(
        "--frozen", action="store_true", help="refuse plugins other than those in the run's plugins.lock"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Everything, then the table."""
    from ullme.cli.summary import show
    from ullme.config.load import load_pipeline
    from ullme.run import Runner

    started = time.monotonic()
    pipeline = load_pipeline(args.file, args.overrides)
    outcome = Runner(pipeline, frozen=args.frozen, progress=not args.no_progress).run()
    show(outcome, pipeline.output, time.monotonic() - started)
    return 0
