"""The right model at each moment: whatever ran before in a folder, scores and exports are those of the trained one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pipelines import ullme

from ullme import Embedder


@pytest.fixture
def two_stages(make, tmp_path):
    """A function writing a pipeline of two stages with an evaluator before and after."""

    def change(content):
        source = {"use": "jsonl", "path": str(tmp_path / "rows.jsonl")}
        content["evaluate"] = [{"use": "losses", "when": ["before", "after"], "source": source, "losses": ["infonce"]}]
        content["stages"].append({**content["stages"][0], "name": "second", "losses": ["infonce"]})

    return lambda name: make(name, change=change)


def scores(folder) -> list[float]:
    found = [folder / when / "1-losses" / "report.json" for when in ("before", "after")]
    return [json.loads(path.read_text())["scores"][0]["value"] for path in found]


def vectors(folder) -> np.ndarray:
    return Embedder.from_directory(folder / "model").encode(["where are alpha and beta", "x"])


def run(*arguments) -> None:
    done = ullme(*arguments, "--no-progress")
    assert done.returncode == 0, done.stderr


def test_train_then_run_equals_run(two_stages, tmp_path):
    run("run", two_stages("whole"))
    run("train", two_stages("parts"))
    run("run", two_stages("parts"))
    before, after = scores(tmp_path / "whole")
    assert after < before
    assert scores(tmp_path / "parts") == [before, after]
    assert np.array_equal(vectors(tmp_path / "whole"), vectors(tmp_path / "parts"))


def test_lost_reports_and_an_unfinished_second_stage(two_stages, tmp_path):
    run("run", two_stages("run"))
    expected, whole = scores(tmp_path / "run"), vectors(tmp_path / "run")
    for lost in ("before", "after", "model", "stages/2-second"):
        shutil.rmtree(tmp_path / "run" / lost)
    run("run", two_stages("run"))
    assert scores(tmp_path / "run") == expected
    assert np.array_equal(vectors(tmp_path / "run"), whole)


def test_a_model_directory_is_evaluated_on_its_own(make, tmp_path):
    run("run", make())

    def change(content):
        source = {"use": "jsonl", "path": str(tmp_path / "rows.jsonl")}
        content["evaluate"] = [{"use": "losses", "source": source, "losses": ["infonce"]}, "probe"]

    run("evaluate", make("other", change=change), "--model", tmp_path / "run" / "model")
    assert len(list((tmp_path / "other" / "models").rglob("report.json"))) == 2
