"""Whole runs: they train, resume exactly, export what `encode` reads, and refuse what they cannot do."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pipelines import environment, ullme

from ullme import Embedder

TEXTS = ["where are alpha and beta", "gamma stands with delta", "x"]


def vectors(folder) -> np.ndarray:
    return Embedder.from_directory(folder / "model").encode(TEXTS)


def test_a_run_trains_exports_and_explains_itself(make, tmp_path):
    file = make()
    done = ullme("run", file, "--no-progress")
    assert done.returncode == 0, done.stderr
    assert "8 steps on 40 rows" in done.stdout
    folder = tmp_path / "run"
    stage = folder / "stages" / "1-grl"
    assert {"ullme.yaml", "plugins.lock", "summary.txt"} <= {p.name for p in folder.iterdir()}
    lines = (stage / "metrics.csv").read_text().splitlines()
    assert len(lines) == 9
    assert {"loss/infonce", "loss/dpo", "loss/grl-kl", "dpo/accuracy", "lr", "grad_norm"} <= set(lines[0].split(","))
    assert (stage / "curves.png").read_bytes().startswith(b"\x89PNG")
    lock = json.loads((folder / "plugins.lock").read_text())
    assert {row["name"] for row in lock["plugins"]} >= {
        "llama",
        "bidirectional",
        "mean",
        "infonce",
        "dpo",
        "grl-kl",
        "jsonl",
    }

    again = ullme("run", file, "--no-progress")
    assert again.returncode == 0
    assert "finished before (8 steps)" in again.stdout


def test_the_resolved_yaml_of_a_run_is_a_pipeline_that_gives_the_same_weights(make, tmp_path):
    assert ullme("run", make(), "--no-progress").returncode == 0
    again = ullme("run", tmp_path / "run" / "ullme.yaml", "--set", f"output={tmp_path / 'again'}", "--no-progress")
    assert again.returncode == 0, again.stderr
    assert np.array_equal(vectors(tmp_path / "run"), vectors(tmp_path / "again"))


@pytest.mark.parametrize("after_checkpoint", [0, 1, 3])
def test_killed_and_run_again_ends_with_the_same_vectors(make, tmp_path, after_checkpoint):
    assert ullme("run", make("whole", checkpoint_every=2), "--no-progress").returncode == 0
    file = make("killed", checkpoint_every=2)
    checkpoints = tmp_path / "killed" / "stages" / "1-grl" / "checkpoints"
    command = [sys.executable, "-m", "ullme", "run", str(file), "--no-progress"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "stages" / "1-grl" / "metrics.csv"
    wanted = 2 * after_checkpoint + 1  # finished steps: between two checkpoints
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > wanted):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model").exists()
    if after_checkpoint:
        assert list(checkpoints.glob("step-*.ckpt"))
    resumed = ullme("run", file, "--no-progress")
    assert resumed.returncode == 0, resumed.stderr
    assert np.array_equal(vectors(tmp_path / "whole"), vectors(tmp_path / "killed"))
    steps = [line.split(",")[0] for line in metrics.read_text().splitlines()[1:]]
    assert steps == [f"{n}.0" for n in range(1, 9)]
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_after_the_last_checkpoint_but_before_the_marker(make, tmp_path):
    file = make(checkpoint_every=4)
    assert ullme("run", file, "--no-progress").returncode == 0
    before = vectors(tmp_path / "run")
    stage = tmp_path / "run" / "stages" / "1-grl"
    rows = (stage / "metrics.csv").read_text()
    for path in (stage / "done.json", stage / "trained.safetensors", stage / "curves.png"):
        path.unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    again = ullme("run", file, "--no-progress")
    assert again.returncode == 0, again.stderr
    assert np.array_equal(vectors(tmp_path / "run"), before)
    assert (stage / "metrics.csv").read_text() == rows
    assert (stage / "curves.png").exists()


def test_ctrl_c_leaves_a_run_that_can_be_continued(make, tmp_path):
    assert ullme("run", make("whole"), "--no-progress").returncode == 0
    file = make("stopped", checkpoint_every=2)
    command = [sys.executable, "-m", "ullme", "run", str(file), "--no-progress"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "stages" / "1-grl" / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 4):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert ullme("run", file, "--no-progress").returncode == 0
    assert np.array_equal(vectors(tmp_path / "whole"), vectors(tmp_path / "stopped"))


def test_evaluators_run_before_and_after(make, tmp_path):
    def change(content):
        source = {"use": "jsonl", "path": str(tmp_path / "rows.jsonl"), "part": "heldout", "heldout": 0.3}
        content["stages"][0]["data"] |= {"part": "train", "heldout": 0.3}
        content["stages"][0]["trainer"] |= {"max_steps": 20}
        content["evaluate"] = [
            {"use": "losses", "when": ["before", "after"], "source": source, "losses": ["infonce", "dpo", "grl-kl"]},
            {
                "use": "gradients",
                "when": ["before"],
                "source": source,
                "losses": ["infonce", {"use": "dpo", "weight": 0.5}],
            },
            {"use": "probe"},
        ]

    done = ullme("run", make(change=change), "--no-progress")
    assert done.returncode == 0, done.stderr
    reports = {p.parent.parent.name + p.parent.name: json.loads(p.read_text()) for p in tmp_path.rglob("report.json")}
    assert set(reports) == {"before1-losses", "after1-losses", "before2-gradients", "after3-probe"}
    before, after = (
        {s["metric"]: s["value"] for s in reports[f"{when}1-losses"]["scores"]} for when in ("before", "after")
    )
    assert after["infonce"] < before["infonce"]
    assert 0 <= before["dpo/accuracy"] <= 1
    assert before["dpo"] == pytest.approx(0.693147, abs=1e-4)
    gradients = {s["metric"]: s["value"] for s in reports["before2-gradients"]["scores"]}
    assert gradients["norm infonce"] > 0
    assert gradients["cosine infonce with sum"] < 0.9999
    probe = {(s["task"], s["metric"]): s["value"] for s in reports["after3-probe"]["scores"]}
    assert probe["probe embed", "layers_as_configured"] == probe["probe generate", "layers_as_configured"] == 1
