"""A whole pipeline over a tiny model, as a YAML file, and the `ullme` command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def ullme(
    *arguments: object, stdin: str | None = None, limit: float = 300, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `ullme ARGUMENTS` and return what it printed and its exit code."""
    command = [sys.executable, "-m", "ullme", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, env=environment(**env), timeout=limit)
