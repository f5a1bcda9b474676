"""One fingerprint for one model: other vectors, other fingerprint; a saved copy has that of its original."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from ullme import Embedder

TEXTS = ["one text that is here and there", "x"]


@pytest.fixture
def edited(build, tiny_models, tmp_path):
    """A function giving the embedder of the tiny llama with one of its files changed."""

    def make(file: str, change):
        folder = tmp_path / file
        shutil.copytree(tiny_models("llama"), folder)
        content = json.loads((folder / file).read_text("utf-8"))
        change(content)
        (folder / file).write_text(json.dumps(content), "utf-8")
        return build("llama", backbone={"path": str(folder)}).eval()

    return make


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "rope_parameters", {"rope_theta": 50.0, "rope_type": "default"}),
        ("config.json", "rms_norm_eps", 0.5),
        ("config.json", "hidden_act", "relu"),
    ],
)
def test_the_same_weights_in_another_architecture_are_another_model(build, edited, file, key, value):
    ours, theirs = build("llama").eval(), edited(file, lambda content: content.update({key: value}))
    assert not np.allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-3)
    assert ours.fingerprint() != theirs.fingerprint()


def test_the_same_weights_under_another_tokenizer_are_another_model(build, edited):
    ours = build("llama").eval()
    theirs = edited("tokenizer.json", lambda content: content["model"].update(merges=content["model"]["merges"][:20]))
    assert not np.allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-3)
    assert ours.fingerprint() != theirs.fingerprint()


@pytest.mark.parametrize(
    "section",
    [{"attention": "causal"}, {"pooler": "last"}, {"dimensions": 8}, {"normalize": False}, {"prompts": {"query": "q"}}],
)
def test_other_settings_are_another_model(build, section):
    assert build("llama", **section).fingerprint() != build("llama").fingerprint()


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3", "bert"])
def test_a_saved_copy_is_the_same_model(build, tmp_path, family):
    embedder = build(family).eval()
    embedder.save(tmp_path / "model")
    assert Embedder.from_directory(tmp_path / "model", device="cpu").fingerprint() == embedder.fingerprint()


def test_use_and_surroundings_change_nothing(build, monkeypatch):
    embedder = build("llama").eval()
    before = embedder.fingerprint()
    embedder.encode(TEXTS)
    embedder.score([("a", "b")])
    embedder.loaded.tokenizer(TEXTS, padding=True, truncation=True, max_length=4)
    monkeypatch.setattr(transformers, "__version__", "99.0")
    assert embedder.fingerprint() == before


def test_one_weight_changes_it(build):
    embedder = build("llama")
    before = embedder.fingerprint()
    with torch.no_grad():
        next(embedder.parameters()).view(-1)[0] += 1e-3
    assert embedder.fingerprint() != before
