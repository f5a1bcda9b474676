"""`ullme encode MODEL_DIR FILE -o vectors.npy`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ullme.types import DTYPES

if TYPE_CHECKING:
    from ullme.cli.shards import Shards
    from ullme.cli.texts import Texts
    from ullme.model.embedder import Embedder

SUMMARY = "Texts to vectors: one fp32 row per line of FILE. A run that was stopped continues when it is started again."
EXAMPLE = (
    "ullme encode runs/quickstart/model questions.txt --role query -o questions.npy\n"
    "cat passages.jsonl | ullme encode runs/quickstart/model - --field passage -o passages.npy\n"
    "ullme encode runs/quickstart/model corpus.jsonl.gz --devices cuda:0,cuda:1 --dtype auto --compile -o corpus/"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, texts, output, prompt, speed."""
    parser.add_argument("model", metavar="MODEL_DIR", help="a directory that `ullme run` exported")
    parser.add_argument(
        "file", metavar="FILE", help=".jsonl, .txt (one text a line), either with .gz, or - for standard input"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="VECTORS.npy",
        help="where the vectors go: one file, or a folder of several (DIR/). Until it is whole, a file's parts are in"
        " VECTORS.npy.parts",
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew instead of continuing")
    parser.add_argument("--field", default="text", help="name of the text in a .jsonl line (default: text)")
    parser.add_argument(
        "--role", default="document", help="template and prompt: query, document ... (default: document)"
    )
    parser.add_argument("--instruction", help="instead of the model's own prompt for the role")
    parser.add_argument("--max-tokens", type=_positive, help="tokens per text (default: the model's)")
    parser.add_argument(
        "--batch-tokens", type=_positive, help="padded tokens a model call (default: 512 on a CPU, 16384 elsewhere)"
    )
    parser.add_argument(
        "--shard",
        type=_positive,
        metavar="TEXTS",
        help="texts sorted by length together and written as one part (default: 2048 on a CPU, 16384 elsewhere)",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="auto: bfloat16 where it is native (default: the weights')")
    parser.add_argument("--compile", action="store_true", help="compile the layers: some seconds, then faster")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    where.add_argument("--devices", type=_names, metavar="A,B", help="one thread each: cuda:0,cuda:1 or cpu,cpu")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Read, encode, write part by part; a single file appears whole or not at all."""
    from ullme.cli.texts import Texts

    output, folder = _places(args.output)
    texts = Texts(args.file, args.field)

    from ullme.cli.shards import Shards, rows_per_file
    from ullme.model.embedder import Embedder
    from ullme.model.native import dtype_for
    from ullme.model.replicas import cast

    devices = args.devices or ([args.device] if args.device else None)
    embedder = Embedder.from_directory(args.model, device=devices[0] if devices else None)
    _check_role(args.role, embedder)
    about = {"model": embedder.fingerprint(), "texts": texts.sha256}
    about |= {name: getattr(args, name) for name in ("field", "role", "instruction", "max_tokens")}
    if args.dtype is not None:
        cast(embedder, dtype_for(args.dtype, embedder.device))
    about |= {"dtype": str(embedder.dtype).removeprefix("torch.")}
    begun = None if args.overwrite else rows_per_file(folder)
    size = args.shard or begun or (2048 if embedder.device.type == "cpu" else 16384)
    shards = Shards(folder, about, rows=texts.count, size=size, overwrite=args.overwrite)
    before = min(shards.done * size, texts.count)
    with _how_to_go_on(shards):
        _encode(args, embedder, devices, texts, shards)
        if output is not None:
            shards.join(output, embedder.dimension)
    limit = min(args.max_tokens or embedder.config.max_tokens, embedder.loaded.max_length)
    count = embedder.template.truncated
    cut = f"; {count} {'text was' if count == 1 else 'texts were'} cut to {limit} tokens" if count else ""
    old = f"; {before} were there before" if before else ""
    print(f"{output or folder}: {texts.count} x {embedder.dimension} float32{cut}{old}")
    return 0


def _encode(
    args: argparse.Namespace, embedder: Embedder, devices: list[str] | None, texts: Texts, shards: Shards
) -> None:
    """What is missing of `shards`."""
    from ullme.model.encoding import Request, stream
    from ullme.model.workers import Workers

    done = shards.done
    start = done * shards.size
    if done == shards.count:
        return
    request = Request(args.role, (), args.instruction, args.max_tokens, args.batch_tokens)
    workers = Workers(embedder, devices=devices, compile=args.compile)
    with _bar(texts.count, start, shown=not args.no_progress) as advance:
        found = stream(workers, texts.after(start), request, advance, start=start, size=shards.size)
        for number, vectors in enumerate(found, done):
            shards.write(number, vectors)


@contextmanager
def _how_to_go_on(shards: Shards) -> Iterator[None]:
    """Stopped, or out of room: what was done is not lost."""
    from ullme.errors import OutputError

    def kept() -> str:
        ready = min(shards.done * shards.size, shards.rows)
        return f"{ready} of {shards.rows} texts are encoded, in {shards.folder}: the same command goes on from there"

    try:
        yield
    except KeyboardInterrupt:
        print(kept(), file=sys.stderr)
        raise
    except OutputError as exc:
        raise OutputError(f"{exc}\n  {kept()}") from exc


def _places(name: str) -> tuple[Path | None, Path]:
    """The file to be made, if it is to be one, and the folder of the parts."""
    from ullme.errors import ConfigError, OutputError

    output = Path(name)
    several = name.endswith("/") or output.is_dir()
    if not several and output.suffix != ".npy":
        raise ConfigError(f"-o {name}: expected a file name ending in .npy, or a folder: {name}/")
    if not output.absolute().parent.is_dir():
        raise OutputError(f"-o {name}: the folder {output.absolute().parent} does not exist")
    return (None, output) if several else (output, output.with_name(output.name + ".parts"))


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


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def _bar(total: int, start: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over texts, on standard error; call what `with` gives with the number of texts just done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]} texts/s"))
    left = (TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *left, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("encoding", total=total, completed=start, rate="...")
        began, done = time.monotonic(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - began, 1e-3)
            bar.update(task, advance=count, rate=f"{rate:.{0 if rate >= 10 else 1}f}")

        yield advance
