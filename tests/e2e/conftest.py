"""Fixtures of whole runs."""

from __future__ import annotations

import pytest
from pipelines import pipeline, write, write_rows


@pytest.fixture
def make(tiny_models, tmp_path):
    """A function writing a pipeline file with its own output folder."""

    def made(name: str = "run", negatives: int = 1, change=None, **trainer):
        data = write_rows(tmp_path / "rows.jsonl", negatives=negatives)
        content = pipeline(tiny_models("llama"), data, tmp_path / name, **trainer)
        if change:
            change(content)
        return write(tmp_path / f"{name}.yaml", content)

    return made
