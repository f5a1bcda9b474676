"""Weights of poolers and heads train with the adapter: through the cached step, the same for any chunk size."""

from __future__ import annotations

import pytest
import torch

from ullme import CachedStep, ConfigError, WeightedLoss, make_batch
from ullme.plugins.registry import Registry

SECTIONS = [
    {"pooler": {"use": "attention", "queries": 2}},
    {"pooler": {"use": "latent-attention", "latents": 6, "heads": 2, "head_size": 8, "mlp_ratio": 1}},
    {"heads": [{"use": "dense", "activation": "tanh"}, {"use": "mlp", "use_in": "training", "out_features": 16}]},
]


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_gradients_do_not_depend_on_the_chunk_size(build, examples, section):
    loss = Registry().load("loss", "infonce")()
    results = []
    for chunk in (1, 40, 10_000):
        embedder = build(adapter={"r": 4}, **section).train()
        CachedStep(embedder, [WeightedLoss("infonce", 1.0, loss.needs, loss.build())], chunk_tokens=chunk)(
            make_batch(examples[:5])
        )
        trained = {name: weight.grad for name, weight in embedder.trainable().items() if "lora_A" not in name}
        results.append(trained)
    assert any(name.startswith(("pooler.", "heads.")) for name in results[0])
    for name, whole in results[-1].items():
        assert whole.abs().sum() > 0, name
        for part in results[:-1]:
            assert (part[name] - whole).norm() <= 1e-5 * whole.norm() + 1e-9, name


def test_an_encoder_trains_its_own_pooling_layer(build, examples):
    loss = Registry().load("loss", "infonce")()
    section = {"heads": [{"use": "pooler-mlp", "use_in": "training"}], "backbone": {"pooling_layer": True}}
    embedder = build("bert", pooler="cls", **section).train()
    CachedStep(embedder, [WeightedLoss("infonce", 1.0, loss.needs, loss.build())], chunk_tokens=100)(
        make_batch(examples[:5])
    )
    assert embedder.trainable()["model.pooler.dense.weight"].grad.abs().sum() > 0
    assert torch.isfinite(embedder.trainable()["model.pooler.dense.weight"].grad).all()


def test_a_head_of_training_alone_must_not_change_what_a_later_one_is_given(build):
    projected = {"use": "mlp", "out_features": 32, "use_in": "training"}
    with pytest.raises(ConfigError, match="'mlp' acts in training only and makes vectors of 32 out of 64, which"):
        build(heads=[projected, {"use": "dense", "out_features": 16}])
    last = build(heads=[{"use": "dense", "out_features": 16}, projected])
    assert last.eval().encode(["a text"]).shape == (1, 16)
