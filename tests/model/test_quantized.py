"""Quantised bases, where bitsandbytes is installed; and what is said where it is not, or cannot serve."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tiny

from ullme import ConfigError, Embedder, build_embedder
from ullme.config.load import load_model
from ullme.train.losses import check_precision

TEXTS = ["one text", "another that is somewhat longer", "x"]
INSTALLED = importlib.util.find_spec("bitsandbytes") is not None


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A tiny llama, large enough for blocks of 64 weights."""
    monkeypatch.setattr(tiny, "SIZES", {**tiny.SIZES, "hidden_size": 128, "intermediate_size": 256})
    folder = tiny.save(tmp_path / "llama", "llama")

    def build(quantization: str | None, **section) -> Embedder:
        backbone = {"use": "llama", "path": str(folder), "quantization": quantization}
        return build_embedder(load_model({"backbone": backbone, "max_tokens": 32, **section}), device="cpu")

    return build


@pytest.mark.skipif(INSTALLED, reason="bitsandbytes is installed")
def test_without_bitsandbytes_it_says_what_to_install(make):
    with pytest.raises(ConfigError, match=r"nf4 needs bitsandbytes\.\n  pip install bitsandbytes"):
        make("nf4")


@pytest.mark.skipif(not INSTALLED, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("quantization", "cosine"), [("nf4", 0.9), ("int8", 0.999)])
class TestQuantised:
    def test_vectors_stay_close_and_do_not_depend_on_batch_mates(self, make, quantization, cosine):
        embedder = make(quantization, adapter={"r": 4})
        vectors = embedder.encode(TEXTS)
        assert (vectors * make(None).encode(TEXTS)).sum(1).min() > cosine
        alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
        assert (vectors * alone).sum(1).min() > 0.9999

    def test_saved_and_loaded(self, make, quantization, cosine, tmp_path):
        embedder = make(quantization, adapter={"r": 4})
        embedder.save(tmp_path / "model")
        again = Embedder.from_directory(tmp_path / "model", device="cpu").encode(TEXTS)
        assert (again * embedder.encode(TEXTS)).sum(1).min() > 0.999

    def test_training_is_refused_where_gradients_would_be_wrong(self, make, quantization, cosine):
        with pytest.raises(ConfigError, match="pass no gradient on a CPU"):
            check_precision(make(quantization, adapter={"r": 4}), "stage 'a'")
        with pytest.raises(ConfigError, match="Give the model an `adapter:`"):
            check_precision(make(quantization), "stage 'a'")
