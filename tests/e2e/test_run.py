"""Whole runs: they train, resume exactly, export what `encode` reads, and refuse what they cannot do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pipelines import environment, pipeline, process, ullme, write, write_rows

from ullme import Embedder

TEXTS = ["where are alpha and beta", "gamma stands with delta", "x"]


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


class TestRefused:
    """One clear message, exit code 2, no traceback, earlier outputs untouched."""

    def refused(self, *arguments, **env) -> str:
        done = process(*arguments, **env) if env else ullme(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def test_another_configuration_in_the_same_folder(self, make):
        file = make()
        assert ullme("run", file, "--no-progress").returncode == 0
        message = self.refused("run", file, "--set", "stages.0.trainer.lr=0.5")
        assert "holds a run of another configuration" in message
        assert "stages.0.trainer.lr: 0.01 there, 0.5 here" in message

    def test_frozen_without_a_lock_and_with_other_plugins(self, make, tmp_path):
        file = make()
        assert "does not exist" in self.refused("run", file, "--frozen")
        assert ullme("run", file, "--no-progress").returncode == 0
        lock = tmp_path / "run" / "plugins.lock"
        content = json.loads(lock.read_text())
        content["plugins"][0]["version"] = "0.0.9"
        lock.write_text(json.dumps(content))
        assert "0.0.9" in self.refused("run", file, "--frozen")
        warned = ullme("run", file, "--no-progress")
        assert warned.returncode == 0
        assert "0.0.9" in warned.stdout

    def test_rows_without_negatives_before_any_weights(self, make):
        def change(content):
            content["model"]["backbone"]["path"] = "nowhere/at/all"

        message = self.refused("run", make(negatives=0, change=change))
        assert "loss 'dpo' compares a positive with negatives" in message
        assert "sample_negatives: 1" in message

    def test_likelihoods_of_an_encoder(self, make, tiny_models):
        def change(content):
            content["model"]["backbone"] = {"use": "bert", "path": str(tiny_models("bert"))}

        assert "likelihoods, which an encoder does not give" in self.refused("run", make(change=change))

    def test_a_model_of_another_family(self, make, tiny_models):
        def change(content):
            content["model"]["backbone"]["path"] = str(tiny_models("gpt_neox"))

        assert "holds a 'gpt_neox' model" in self.refused("run", make(change=change))

    def test_pickle_weights(self, make, tiny_models, tmp_path):
        import torch
        from safetensors.torch import load_file

        folder = tmp_path / "pickled"
        folder.mkdir()
        for path in tiny_models("llama").iterdir():
            if path.suffix == ".safetensors":
                torch.save(load_file(path), folder / "pytorch_model.bin")
            else:
                (folder / path.name).write_bytes(path.read_bytes())

        def change(content):
            content["model"]["backbone"]["path"] = str(folder)

        assert "allow_pickle: true" in self.refused("run", make(change=change))

    def test_full_finetuning_in_half_precision(self, make):
        def change(content):
            content["model"]["backbone"]["dtype"] = "bfloat16"
            content["model"]["adapter"] = None
            content["stages"][0]["losses"] = ["infonce"]

        assert "small updates are lost" in self.refused("run", make(change=change))

    def test_adapter_targets_that_match_nothing(self, make):
        def change(content):
            content["model"]["adapter"]["targets"] = ["no_such_layer"]

        assert "no_such_layer" in self.refused("run", make(change=change))

    def test_a_batch_larger_than_the_data(self, make):
        assert "has only 40 rows" in self.refused("run", make(batch_size=50))

    def test_a_loss_that_becomes_nan(self, make, tmp_path):
        (tmp_path / "rotten.py").write_text(
            "from ullme import Loss, Vector\n\n\n"
            "class Rotten(Loss):\n    '''Finite for three steps.'''\n\n"
            "    needs = (Vector('query'),)\n    calls = 0\n\n"
            "    def __call__(self, batch):\n        Rotten.calls += 1\n"
            "        return batch.vector('query').sum(1) * (float('nan') if Rotten.calls > 3 else 1.0)\n"
        )

        def change(content):
            content["stages"][0]["losses"] = ["infonce", "rotten"]

        plugin = ("--plugin", "loss:rotten=rotten:Rotten")
        file = make(change=change, checkpoint_every=1)
        message = self.refused(*plugin, "run", file, "--no-progress", PYTHONPATH=str(tmp_path))
        assert "step 3: loss 'rotten' is nan" in message
        checkpoints = tmp_path / "run" / "stages" / "1-grl" / "checkpoints"
        assert {p.name for p in checkpoints.iterdir()} == {"step-00000002.ckpt", "step-00000003.ckpt"}
        assert "is nan" in self.refused(*plugin, "run", file, "--no-progress", PYTHONPATH=str(tmp_path))

    @pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/dev/full"), reason="root writes anywhere")
    def test_an_output_that_cannot_be_made(self, make):
        message = self.refused("run", make(), "--set", "output=/dev/null/runs")
        assert "/dev/null/runs" in message
