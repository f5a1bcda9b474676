"""Vectors: independent of padding, neighbours and order; equal to sentence-transformers'; saved and reloaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ullme import DataError, Embedder
from ullme.model.embedder import VectorCall
from ullme.model.states import hidden_states
from ullme.model.tokens import pad

FAMILIES = ["llama", "gpt_neox", "gemma3", "bert"]
POOLERS = [
    "attention",
    "cls",
    "last",
    {"use": "latent-attention", "latents": 6, "heads": 2},
    "max",
    "mean",
    {"use": "mean-layers", "layers": [1, -1]},
    "mean-sqrt-len",
    "weighted-mean",
    {"use": "weighted-mean", "positions": "absolute"},
]
TEXTS = ["short", "a text of medium length here", "x", "the longest of these four texts by a good margin, with commas"]


def close(a, b, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=tolerance, rtol=0)


@pytest.mark.parametrize("pooler", POOLERS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_do_not_depend_on_batch_mates_or_order(build, family, pooler):
    embedder = build(family, pooler=pooler)
    together = embedder.encode(TEXTS)
    assert np.abs(together - together[:1]).max() > 1e-2
    close(together, np.concatenate([embedder.encode([text]) for text in TEXTS]))
    close(together[::-1].copy(), embedder.encode(TEXTS[::-1]))
    close(together, embedder.encode(TEXTS, batch_tokens=1))
    close(np.linalg.norm(together, axis=1), np.ones(4, dtype=np.float32))


@pytest.mark.parametrize("pooler", POOLERS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_do_not_depend_on_padding_side_or_length(build, family, pooler):
    embedder = build(family, pooler=pooler)
    tokens = embedder.template.embed(TEXTS[1:2], "document", "an instruction, which is not pooled")
    batch = pad(tokens)
    assert batch.pool.sum() < batch.mask.sum()
    for left, right in ((0, 0), (3, 0), (0, 5), (2, 2)):
        ids, mask, marked = (
            torch.nn.functional.pad(t, (left, right)) for t in (batch.ids, batch.mask, batch.pool.long())
        )
        with torch.no_grad(), embedder.modes["embed"].active():
            states = hidden_states(embedder.loaded, ids, mask, embedder.layers)
            vector = embedder.pooled(states, mask, marked)
        close(vector, embedder(VectorCall(tokens)).detach())


def test_a_tokenizer_that_pads_with_its_end_token_changes_nothing(build):
    close(build(options={"pad_is_eos": True}).encode(TEXTS), build().encode(TEXTS))


@pytest.mark.parametrize("adapter", [None, {"r": 4}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_gives_the_same_vectors(build, tmp_path, dtype, adapter):
    embedder = build(backbone={"dtype": dtype}, adapter=adapter, pooler="weighted-mean", prompts={"query": "find"})
    for name, parameter in embedder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    before = embedder.encode(TEXTS, role="query")
    scores = embedder.score([("a prefix", "a target")])[0]
    embedder.save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model")
    assert np.array_equal(again.encode(TEXTS, role="query"), before)
    assert np.array_equal(again.score([("a prefix", "a target")])[0], scores)
    assert not np.array_equal(again.encode(TEXTS, role="document"), before)


def test_the_bert_encoder_equals_sentence_transformers(build, tiny_models):
    st = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.models")
    path = str(tiny_models("bert"))
    modules = [models.Transformer(path, max_seq_length=64), models.Pooling(64, pooling_mode="mean")]
    theirs = st.SentenceTransformer(modules=[*modules, models.Normalize()], device="cpu").encode(TEXTS)
    close(build("bert").encode(TEXTS), theirs)


def test_dimensions_and_normalisation(build):
    whole = build(normalize=False).encode(TEXTS)
    head = build(dimensions=8).encode(TEXTS)
    close(head, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True))


def test_bfloat16_stays_close_to_float32(build):
    a, b = build().encode(TEXTS), build(backbone={"dtype": "bfloat16"}, adapter={"r": 4}).encode(TEXTS)
    assert (a * b).sum(1).min() > 0.999


def test_hidden_layers_are_numbered_as_in_transformers(build):
    embedder = build(normalize=False)
    tokens = embedder.template.embed(TEXTS[:1], "document")
    batch = pad(tokens)
    with torch.no_grad(), embedder.modes["embed"].active():
        states = embedder.loaded.body(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True)
    close(embedder(VectorCall(tokens, layer=1)).detach(), states.hidden_states[1].mean(1))


def test_an_empty_text_is_refused_by_its_number(build):
    with pytest.raises(DataError, match="text 1 is empty"):
        build().encode(["fine", "  "])


def test_the_fingerprint_follows_the_weights(build):
    embedder = build(adapter={"r": 4})
    first = embedder.fingerprint()
    assert build(adapter={"r": 4}).fingerprint() == first
    next(p for n, p in embedder.named_parameters() if "lora_B" in n).data.add_(0.1)
    assert embedder.fingerprint() != first
