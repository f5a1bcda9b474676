"""A whole pipeline over a tiny model, as a YAML file, and the `ullme` command, in this process or its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]


def rows(count: int = 40, negatives: int = 1) -> list[dict[str, Any]]:
    """Question i asks for a pair of words; its passage holds them."""
    made = []
    for i in range(count):
        a, b = WORDS[i % 12], WORDS[(i * 5 + i // 12) % 12]
        row = {"query": f"where are {a} and {b} {i}", "positives": [f"{b} stands with {a} in place {i}"]}
        if negatives:
            row["negatives"] = [
                f"nothing but {WORDS[(i + 3 + n) % 12]} in place {i + 100 * (n + 1)}" for n in range(negatives)
            ]
        made.append(row)
    return made


def write_rows(path: Path, **options: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(**options)))
    return path


def pipeline(model: Path | str, data: Path, output: Path, **trainer: Any) -> dict[str, Any]:
    """GRL on a tiny llama with dropout, so that the random state matters."""
    return {
        "model": {
            "backbone": {"use": "llama", "path": str(model)},
            "adapter": {"r": 4, "dropout": 0.2},
            "max_tokens": 32,
        },
        "stages": [
            {
                "name": "grl",
                "data": {"use": "jsonl", "path": str(data)},
                "losses": [{"use": "infonce"}, {"use": "dpo", "weight": 0.5}, {"use": "grl-kl"}],
                "trainer": {"max_steps": 8, "batch_size": 6, "lr": 0.01, "chunk_tokens": 200, **trainer},
            }
        ],
        "export": ["ullme"],
        "output": str(output),
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120", **more}


@dataclass(frozen=True)
class Done:
    """What a command printed and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def ullme(*arguments: object, stdin: str | None = None) -> Done:
    """Run `ullme ARGUMENTS` in this process: what it imports is already there."""
    import torch

    from ullme.cli import main

    torch.set_num_threads(1)
    out, err, old = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO((stdin or "").encode()))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    except SystemExit as exit:  # argparse, after --help
        code = int(exit.code or 0)
    finally:
        sys.stdin = old
    return Done(code, out.getvalue(), err.getvalue())


def process(*arguments: object, limit: float = 300, **env: str) -> Done:
    """Run `ullme ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "ullme", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(**env), timeout=limit)
    return Done(done.returncode, done.stdout, done.stderr)
