"""Conformance of evaluators."""

from __future__ import annotations

import json
import math
import pickle
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.interfaces import Evaluator
from ullme.testing.component import ComponentConformance
from ullme.types import EvalContext, EvalReport

if TYPE_CHECKING:
    from ullme.model.embedder import Embedder


class EvaluatorConformance(ComponentConformance):
    """Override the fixture `embedder` with a small model; set `config` so that no network is needed."""

    kind: ClassVar[str] = "evaluator"

    @pytest.fixture
    def embedder(self) -> Embedder:
        """A small embedder."""
        raise NotImplementedError("override the fixture `embedder` with a small model")

    @pytest.fixture
    def report(self, component: Evaluator, embedder: Embedder, tmp_path: Path) -> EvalReport:
        """What the evaluator says of that model."""
        return component.evaluate(embedder, EvalContext(out_dir=tmp_path, progress=False))

    def test_scores_are_numbers(self, report: EvalReport) -> None:
        """Each inside its interval, where it has one."""
        for score in report.scores:
            assert math.isfinite(score.value), score
            assert score.low is None or score.low <= score.value, score
            assert score.high is None or score.value <= score.high, score

    def test_report_can_be_stored(self, report: EvalReport, tmp_path: Path) -> None:
        """Details are JSON, and files lie in the folder that the evaluator was given."""
        json.dumps(report.details, allow_nan=False)
        for path in report.files:
            assert path.is_file()
            assert path.resolve().is_relative_to(tmp_path.resolve())

    def test_random_state_is_left_alone(self, component: Evaluator, embedder: Embedder, tmp_path: Path) -> None:
        """Evaluating in the middle of a run must not change the run."""
        before = _random_state()
        component.evaluate(embedder, EvalContext(out_dir=tmp_path, progress=False))
        assert _random_state() == before, "restore the random state of random, numpy and torch"


def _random_state() -> list[Any]:
    import numpy as np
    import torch

    return [random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()]
