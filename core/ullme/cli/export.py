"""`ullme export MODEL_DIR --to NAME`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "A model directory in a format that other programs read, compared with the model before it appears."
EXAMPLE = (
    "ullme export runs/quickstart/model --to sentence-transformers\n"
    "ullme export runs/quickstart/model --to hf -o exported --dtype bfloat16 --push ORG/NAME"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, format, place."""
    parser.add_argument("model", metavar="MODEL_DIR", help="a directory that `ullme run` exported")
    parser.add_argument("--to", required=True, metavar="NAME", help="an exporter: `ullme list-plugins exporters`")
    parser.add_argument("-o", "--output", metavar="DIR", help="default: a folder of the format's name beside MODEL_DIR")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="of the weights (default: as is)")
    parser.add_argument(
        "--run", metavar="DIR", help="the run that trained it, for the card (default: around MODEL_DIR)"
    )
    parser.add_argument("--push", metavar="ORG/NAME", help="upload to the Hugging Face hub afterwards")
    parser.add_argument("--private", action="store_true", help="a repository that --push makes is private")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")


def run(args: argparse.Namespace) -> int:
    """Load, write, read back, compare, rename into place; then upload."""
    from ullme.atomic import taken
    from ullme.errors import ConfigError, OutputError
    from ullme.hub import check_id, push
    from ullme.plugins.registry import Registry

    if args.push:
        check_id(args.push)
    if args.private and not args.push:
        raise ConfigError("--private says what --push makes: give --push ORG/NAME too")
    cls = Registry().load("exporter", args.to)
    exporter = cls(cls.Config())
    model = Path(args.model)
    target = Path(args.output) if args.output else model.absolute().parent / (exporter.config.folder or args.to)
    if taken(target):
        raise OutputError(f"{target} is there already: name another place with -o, or remove it")
    run_dir = _run_dir(model, args.run)

    from ullme.export import export
    from ullme.model.embedder import Embedder

    embedder = Embedder.from_directory(model, device=args.device)
    export(exporter, embedder, target, run_dir=run_dir, dtype=args.dtype)
    print(f"{target}: written, read back and equal to {model}")
    if args.push:
        print(push(target, args.push, private=args.private))
    return 0


def _run_dir(model: Path, given: str | None) -> Path | None:
    from ullme.errors import ConfigError
    from ullme.run_directory import CONFIG

    if given is not None:
        if not (Path(given) / CONFIG).is_file():
            raise ConfigError(f"--run {given}: no {CONFIG} there: expected the output folder of a run")
        return Path(given)
    around = model.absolute().parent
    return around if (around / CONFIG).is_file() else None
