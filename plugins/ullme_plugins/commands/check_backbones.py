"""`ullme check-backbones`: does every family attend, pad, train and generate as it should? Tiny models, no download."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ullme import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ullme_plugins.commands._matrix import Row

SUMMARY = (
    "Test families of models, tiny and random, under each attention implementation: what `docs/families.md` lists."
)
EXAMPLE = (
    "ullme check-backbones\n"
    "ullme check-backbones llama qwen3 --attn eager,sdpa,flex\n"
    "ullme check-backbones --fast --json\n"
    "ullme check-backbones --write docs/families.md"
)
IMPLEMENTATIONS = ("eager", "sdpa", "flex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Families, implementations, and where the result goes."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="backbones or model types; default: all there are")
    parser.add_argument(
        "--attn",
        default="eager,sdpa",
        metavar="LIST",
        help=f"of {', '.join(IMPLEMENTATIONS)}, by commas (default: %(default)s; flex compiles for a while)",
    )
    parser.add_argument(
        "--fast", action="store_true", help="only what each layer attends to, padding and stock results"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown; needs all families")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Test and print; 1 if a family fails that was named or has a backbone of its own. Raises ConfigError."""
    implementations = tuple(name.strip() for name in args.attn.split(","))
    if unknown := [name for name in implementations if name not in IMPLEMENTATIONS]:
        raise ConfigError(f"--attn: {unknown[0]!r} is none of {', '.join(IMPLEMENTATIONS)}")
    if args.write and (args.names or args.fast):
        raise ConfigError("--write takes the whole table: give neither names nor --fast with it")
    import torch

    from ullme_plugins.commands import _catalogue, _table

    torch.set_num_threads(1)  # models this small lose by more
    names = _catalogue.chosen(args.names)
    rows = _rows(names, implementations, args.fast)
    if args.json:
        import json

        print(json.dumps(_table.as_json(rows), indent=1))
    else:
        _print(rows, implementations)
    if args.write:
        from ullme.atomic import atomic_write

        command = "ullme check-backbones" + f" --attn {args.attn}" * (args.attn != "eager,sdpa") + " --write"
        with atomic_write(args.write, "w") as file:
            file.write(_table.markdown(rows, implementations, _catalogue.not_text(), f"{command} {args.write}"))
    failing = [row.family for row in rows if (args.names or row.named) and not row.accepted]
    if failing:
        print(f"not accepted: {', '.join(failing)}", file=sys.stderr)
    return 1 if failing else 0


def _rows(names: Sequence[str], implementations: Sequence[str], fast: bool) -> list[Row]:
    from rich.console import Console

    from ullme_plugins.commands import _matrix

    rows = []
    with Console(stderr=True).status("") as status:
        for number, name in enumerate(names, 1):
            status.update(f"{number} of {len(names)}: {name}")
            rows.append(_matrix.examine(name, implementations, fast=fast))
    return rows


def _print(rows: Sequence[Row], implementations: Sequence[str]) -> None:
    from rich.console import Console

    from ullme_plugins.commands import _table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(_table.terminal(rows, implementations))
    for kind, what in (("decoder", "families of language models"), ("encoder", "encoders")):
        mine = [row for row in rows if row.kind == kind]
        if mine:
            console.print(f"{sum(row.accepted for row in mine)} of {len(mine)} {what} accepted", highlight=False)
