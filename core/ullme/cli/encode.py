"""`ullme encode MODEL_DIR FILE -o vectors.npy`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ullme.model.embedder import Embedder

SUMMARY = "Texts to vectors: a numpy file with one fp32 row per line of FILE."
EXAMPLE = (
    "ullme encode runs/quickstart/model questions.txt --role query -o questions.npy\n"
    "cat passages.jsonl | ullme encode runs/quickstart/model - --field passage -o passages.npy"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, texts, output, prompt."""
    parser.add_argument("model", metavar="MODEL_DIR", help="a directory that `ullme run` exported")
    parser.add_argument(
        "file", metavar="FILE", help=".jsonl, .txt (one text a line), either with .gz, or - for standard input"
    )
    parser.add_argument("-o", "--output", required=True, metavar="VECTORS.npy", help="where the vectors go")
    parser.add_argument("--field", default="text", help="name of the text in a .jsonl line (default: text)")
    parser.add_argument(
        "--role", default="document", help="template and prompt: query, document ... (default: document)"
    )
    parser.add_argument("--instruction", help="instead of the model's own prompt for the role")
    parser.add_argument("--max-tokens", type=_positive, help="tokens per text (default: the model's)")
    parser.add_argument(
        "--batch-tokens", type=_positive, default=4096, help="padded tokens a model call (default: 4096)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Read, encode, write; the output appears whole or not at all."""
    from ullme.atomic import atomic_write
    from ullme.cli.texts import read_texts
    from ullme.errors import ConfigError, OutputError

    output = Path(args.output)
    if output.suffix != ".npy":
        raise ConfigError(f"-o {output}: expected a file name ending in .npy")
    if not output.absolute().parent.is_dir():
        raise OutputError(f"-o {output}: the folder {output.absolute().parent} does not exist")
    texts = read_texts(args.file, args.field)

    import numpy as np

    from ullme.model.embedder import Embedder

    embedder = Embedder.from_directory(args.model, device=args.device)
    _check_role(args.role, embedder)
    with _bar(len(texts), shown=not args.no_progress) as advance:
        vectors = embedder.encode(
            texts,
            role=args.role,
            instruction=args.instruction,
            max_tokens=args.max_tokens,
            batch_tokens=args.batch_tokens,
            on_progress=advance,
        )
    with atomic_write(output) as file:
        np.save(file, vectors)
    limit = min(args.max_tokens or embedder.config.max_tokens, embedder.loaded.max_length)
    count = embedder.template.truncated
    cut = f"; {count} {'text was' if count == 1 else 'texts were'} cut to {limit} tokens" if count else ""
    print(f"{output}: {vectors.shape[0]} x {vectors.shape[1]} {vectors.dtype}{cut}")
    return 0


def _check_role(role: str, embedder: Embedder) -> None:
    """Any role would do for the template, so a misspelt one would silently lose its prompt."""
    from difflib import get_close_matches

    from ullme.errors import ConfigError

    known = sorted({"query", "document", *embedder.template.config.embed, *embedder.config.prompts})
    if role not in known:
        hint = "".join(f" Did you mean {close!r}?" for close in get_close_matches(role, known, n=1))
        raise ConfigError(f"--role {role}: this model has no such role.{hint}\n  Roles: {', '.join(known)}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


@contextmanager
def _bar(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over texts, on standard error; call what `with` gives with the number of texts just done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("encoding", total=total)
        yield lambda count: bar.update(task, advance=count)
