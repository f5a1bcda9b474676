"""`ullme merge MODEL_DIR -o DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "A model directory with the adapter folded into the weights: the same vectors, no adapter to load."
EXAMPLE = "ullme merge runs/quickstart/model -o merged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and place."""
    parser.add_argument("model", metavar="MODEL_DIR", help="a directory that `ullme run` exported")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")


def run(args: argparse.Namespace) -> int:
    """Load, fold, write, read back, compare, rename into place."""
    from ullme.atomic import taken
    from ullme.errors import ConfigError, OutputError

    target = Path(args.output)
    if taken(target):
        raise OutputError(f"-o {target} is there already: name another place, or remove it")

    from ullme.model.embedder import Embedder
    from ullme.model.storage import save

    embedder = Embedder.from_directory(args.model, device=args.device)
    adapter = embedder.config.adapter
    if embedder.adapter is None or adapter is None:
        raise ConfigError(f"{args.model}: this model has no adapter: there is nothing to merge")
    if len(adapter.tasks) > 1:
        listed = ", ".join(adapter.tasks)
        raise ConfigError(f"{args.model}: one set of weights cannot hold the adapters of several tasks ({listed})")
    save(embedder, target, merged=True)
    print(f"{target}: written, read back and equal to {args.model}")
    return 0
