"""Shared fixtures. Heavy imports happen inside them, so that the light tests start at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory):
    """A function giving the folder of a tiny random model of a family, made once a session."""
    made: dict[tuple[object, ...], Path] = {}

    def get(family: str = "llama", **options: object) -> Path:
        import tiny

        key = (family, *sorted(options.items(), key=str))
        if key not in made:
            made[key] = tiny.save(tmp_path_factory.mktemp(family), family, **options)
        return made[key]

    return get


@pytest.fixture
def build(tiny_models):
    """A function giving an Embedder over a tiny model: `build(family, pooler=..., adapter=...)`."""

    def make(
        family: str = "llama", *, seed: int = 0, options: dict | None = None, backbone: dict | None = None, **section
    ):
        import torch

        from ullme import build_embedder
        from ullme.config.load import load_model

        torch.set_num_threads(1)
        use = {"gpt_neox": "gpt-neox"}.get(family, family)
        path = str(tiny_models(family, **(options or {})))
        model = {"backbone": {"use": use, "path": path, **(backbone or {})}, "max_tokens": 64, **section}
        return build_embedder(load_model(model), seed=seed)

    return make


@pytest.fixture
def examples():
    """Ten rows with one or two positives and two negatives each, texts of mixed length."""
    from ullme import Example

    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]

    def text(start: int, length: int) -> str:
        return " ".join(words[(start + 5 * i) % len(words)] for i in range(length))

    return [
        Example(
            query=f"question {text(i, 2 + i % 4)}",
            positives=tuple(f"answer {i} {j} {text(i + j, 3 + (i * 7 + j) % 9)}" for j in range(1 + i % 2)),
            negatives=tuple(f"other {i} {j} {text(i + 3 * j, 2 + (i * 5 + j) % 8)}" for j in range(2)),
            id=f"row-{i}",
            group=f"group-{i}",
        )
        for i in range(10)
    ]
