"""Every first-party loss, pooler, head, attention mode and backbone conforms: a row in pyproject.toml is a row here."""

import pytest

from ullme.plugins.discovery import OWN_DIST, scan
from ullme.plugins.registry import Registry
from ullme.testing import (
    AttentionConformance,
    BackboneConformance,
    HeadConformance,
    LossConformance,
    PoolerConformance,
)


class TinyAttention(AttentionConformance):
    @pytest.fixture
    def loaded(self, tiny_models):
        cls = Registry().load("backbone", "llama")
        loaded = cls(cls.Config(path=str(tiny_models("llama")))).load()
        loaded.model.eval()
        return loaded


class TinyBackbone(BackboneConformance):
    @pytest.fixture
    def settings(self, cls, tiny_models):
        """A model of the first type that the backbone reads; one that reads any is given a llama."""
        return {"path": str(tiny_models(next(iter(cls.model_types), "llama")))}

    def test_blocks_are_what_transformers_never_splits(self, loaded):
        """So that FSDP, which wraps the classes of `blocks`, needs no list of its own for any family."""
        assert {type(block).__name__ for block in loaded.blocks} <= set(loaded.model._no_split_modules)


class TinyHead(HeadConformance):
    @pytest.fixture
    def loaded(self, tiny_models):
        """A backbone with a pooling layer, for the head that uses it."""
        cls = Registry().load("backbone", "bert")
        loaded = cls(cls.Config(path=str(tiny_models("bert")), pooling_layer=True)).load()
        loaded.model.eval()
        return loaded


SUITES = {
    "loss": LossConformance,
    "pooler": PoolerConformance,
    "head": TinyHead,
    "attention": TinyAttention,
    "backbone": TinyBackbone,
}

for record in scan():
    if record.dist == OWN_DIST and record.kind in SUITES:
        title = f"Test_{record.kind}_{record.name.replace('-', '_')}"
        globals()[title] = type(title, (SUITES[record.kind],), {"name": record.name, "__module__": __name__})


@pytest.mark.parametrize("kind", SUITES)
def test_every_suite_has_something_to_test(kind):
    assert any(name.startswith(f"Test_{kind}_") for name in globals())
