"""Trained-looking tiny models and exports of them, for the tests of exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ullme.export import export
from ullme.model.reference import TEXTS
from ullme.plugins.registry import Registry

MIXED = [*TEXTS, "  space around  ", "one word " * 90]


def train(embedder: Any, seed: int = 1) -> Any:
    """Adapter weights as if trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in embedder.adapter.named_parameters():
            if ".lora_B." in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return embedder


def exported(embedder: Any, folder: Path, form: str = "sentence-transformers", **options: Any) -> list[str]:
    """Export to `folder`; what was said."""
    said: list[str] = []
    cls = Registry().load("exporter", form)
    export(cls(cls.Config()), embedder, folder, say=said.append, **options)
    return said


def st(folder: Path, **options: Any) -> Any:
    """Stock sentence-transformers on a folder."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **options)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of a number, relative to the largest number, at least 1."""
    return float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))
