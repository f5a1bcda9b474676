"""The test kit for plugin authors: conformance classes to subclass, and inputs to compute with.

    from ullme.testing import LossConformance

    class TestMine(LossConformance):
        name = "mine"

Fixtures are in `ullme.testing.fixtures`. Importing the kit imports pytest, not torch.
"""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in ("component", "loss", "pooler", "attention", "head")))
pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in ("backbone", "source", "evaluator", "weights")))

from ullme.testing.attention import AttentionConformance  # noqa: E402  (assertions are rewritten on import)
from ullme.testing.backbone import BackboneConformance  # noqa: E402
from ullme.testing.component import ComponentConformance  # noqa: E402
from ullme.testing.evaluator import EvaluatorConformance  # noqa: E402
from ullme.testing.head import HeadConformance  # noqa: E402
from ullme.testing.inputs import random_loss_inputs  # noqa: E402
from ullme.testing.loss import LossConformance  # noqa: E402
from ullme.testing.pooler import PoolerConformance  # noqa: E402
from ullme.testing.source import SourceConformance  # noqa: E402

__all__ = [
    "AttentionConformance",
    "BackboneConformance",
    "ComponentConformance",
    "EvaluatorConformance",
    "HeadConformance",
    "LossConformance",
    "PoolerConformance",
    "SourceConformance",
    "random_loss_inputs",
]
