"""Every first-party loss, pooler, attention mode and backbone conforms: a row in pyproject.toml is a row here."""

import pytest

from ullme.plugins.discovery import OWN_DIST, scan
from ullme.plugins.registry import Registry
from ullme.testing import AttentionConformance, BackboneConformance, LossConformance, PoolerConformance


class TinyAttention(AttentionConformance):
    @pytest.fixture
    def loaded(self, tiny_models):
        cls = Registry().load("backbone", "llama")
        loaded = cls(cls.Config(path=str(tiny_models("llama")))).load()
        loaded.model.eval()
        return loaded


class TinyBackbone(BackboneConformance):
    @pytest.fixture
    def settings(self, tiny_models):
        return {"path": str(tiny_models(self.name.replace("-", "_")))}


SUITES = {"loss": LossConformance, "pooler": PoolerConformance, "attention": TinyAttention, "backbone": TinyBackbone}

for record in scan():
    if record.dist == OWN_DIST and record.kind in SUITES:
        title = f"Test_{record.kind}_{record.name.replace('-', '_')}"
        globals()[title] = type(title, (SUITES[record.kind],), {"name": record.name, "__module__": __name__})


@pytest.mark.parametrize("kind", SUITES)
def test_every_suite_has_something_to_test(kind):
    assert any(name.startswith(f"Test_{kind}_") for name in globals())
