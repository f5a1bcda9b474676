"""Adapters: what trains, what is folded in, what is continued, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ullme import AssetError, CachedStep, ConfigError, Embedder, build_losses, make_batch
from ullme.config.load import load_model
from ullme.plugins.registry import Registry

TEXTS = ["one text", "another that is somewhat longer", "x"]


def shaken(embedder: Embedder, seed: int = 1) -> Embedder:
    """The embedder with adapter weights as training might have left them."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in embedder.adapter.named_parameters():
        if ".lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return embedder


def close(a, b, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=tolerance, rtol=0)


def trained(embedder: Embedder, examples) -> set[str]:
    """Names of the parameters that a GRL step gives a gradient."""
    choices = load_losses("infonce", "sft")
    CachedStep(embedder.train(), build_losses(choices))(make_batch(examples[:4]))
    return {n for n, p in embedder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def load_losses(*names: str):
    from typing import Annotated

    from pydantic import TypeAdapter

    from ullme import Choice, Slot

    return TypeAdapter(list[Annotated[Choice, Slot("loss")]]).validate_python(list(names), context=Registry())


@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bert"])
def test_saved_and_loaded_gives_the_same_vectors(build, tmp_path, family, method):
    embedder = shaken(build(family, adapter={"r": 4, "method": method}))
    vectors = embedder.encode(TEXTS)
    assert not np.allclose(vectors, build(family).encode(TEXTS), atol=1e-3)
    embedder.save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model", device="cpu")
    close(again.encode(TEXTS), vectors)
    assert again.fingerprint() == embedder.fingerprint()
    again.save(tmp_path / "again")
    close(Embedder.from_directory(tmp_path / "again", device="cpu").encode(TEXTS), vectors)


def test_rslora_scales_by_the_root_of_the_rank(build):
    def scale(method: str) -> float:
        adapter = build(adapter={"r": 4, "method": method}).adapter
        return next(m.scaling["default"] for m in adapter.modules() if hasattr(m, "lora_A"))

    assert scale("lora") == 32 / 4
    assert scale("rslora") == 32 / 2


def test_dora_trains_magnitudes_too(build, examples):
    names = trained(build(adapter={"r": 4, "method": "dora"}), examples)
    assert any("lora_magnitude_vector" in name for name in names)
    assert all(".lora_" in name for name in names)


def test_bitfit_trains_the_biases_and_nothing_else(build, examples, tmp_path):
    embedder = build("gpt_neox", adapter={"method": "bitfit"})
    assert set(embedder.trainable()) == {n for n, _ in embedder.named_parameters() if n.endswith("bias")}
    names = trained(embedder, examples)
    assert names <= set(embedder.trainable())
    assert len(names) > 10
    for parameter in embedder.trainable().values():
        parameter.data += 0.1
    embedder.save(tmp_path / "model")
    close(Embedder.from_directory(tmp_path / "model", device="cpu").encode(TEXTS), embedder.eval().encode(TEXTS))


def test_bitfit_needs_biases(build):
    with pytest.raises(ConfigError, match="bitfit trains biases, of which LlamaForCausalLM has none"):
        build("llama", adapter={"method": "bitfit"})


def test_without_an_adapter_everything_trains(build, examples):
    embedder = build()
    assert trained(embedder, examples) == {n for n, _ in embedder.named_parameters()}


@pytest.fixture
def adapters(build, tmp_path):
    """Two trained adapters as peft saves them, and what the model with the first and with both gives."""
    first = shaken(build(adapter={"r": 4, "targets": ["q_proj", "down_proj"]}), 1)
    first.adapter.save_pretrained(tmp_path / "first")
    second = shaken(build(adapter={"r": 2, "merge": [str(tmp_path / "first")], "alpha": 8}), 2)
    second.adapter.save_pretrained(tmp_path / "second")
    return tmp_path, first.encode(TEXTS), second.encode(TEXTS)


def test_a_merged_adapter_is_part_of_the_weights(build, adapters):
    folder, first, _ = adapters
    merged = build(adapter={"merge": [str(folder / "first")], "r": 2})
    close(merged.encode(TEXTS), first)
    assert not [n for n in merged.trainable() if ".lora_" not in n]
    with merged.reference():
        close(merged.encode(TEXTS), first)


def test_all_weights_train_after_adapters_were_merged(build, adapters, examples, tmp_path):
    folder, _, both = adapters
    merged = build(adapter={"method": "full", "merge": [str(folder / "first"), str(folder / "second")]})
    close(merged.encode(TEXTS), both)
    assert trained(merged, examples) == {name for name, _ in merged.named_parameters()}
    merged.eval().save(tmp_path / "model")
    close(Embedder.from_directory(tmp_path / "model", device="cpu").encode(TEXTS), both)


def test_adapters_merge_in_order_and_stack(build, adapters, tmp_path):
    folder, _, both = adapters
    close(build(adapter={"merge": [str(folder / "first"), str(folder / "second")]}).encode(TEXTS), both)
    stacked = build(adapter={"merge": [str(folder / "first")], "path": str(folder / "second")})
    close(stacked.encode(TEXTS), both)
    assert stacked.adapter.peft_config["default"].r == 2
    assert all(".lora_" in name for name in stacked.trainable())
    stacked.save(tmp_path / "model")
    close(Embedder.from_directory(tmp_path / "model", device="cpu").encode(TEXTS), both)


def test_an_adapter_trained_without_the_head_fits(build, tiny_models, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    bare = get_peft_model(AutoModel.from_pretrained(tiny_models("llama")), LoraConfig(r=4, target_modules=["v_proj"]))
    for name, parameter in bare.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    bare.save_pretrained(tmp_path / "bare")
    ids = torch.tensor([[5, 6, 7]])
    embedder = build(attention="causal", adapter={"path": str(tmp_path / "bare")})
    with torch.no_grad():
        close(embedder.loaded.body(input_ids=ids).last_hidden_state, bare.eval()(input_ids=ids).last_hidden_state)


def test_each_task_has_its_adapter(build, examples, tmp_path):
    section = {"r": 4, "tasks": ["retrieval", "sts"], "route": {"query": "retrieval", "default": "sts"}}
    embedder = shaken(build(adapter=section))
    alone = {name: embedder.route(name) for name in ("query", "document", "sts", "retrieval")}
    assert alone == {"query": "retrieval", "document": "sts", "sts": "sts", "retrieval": "retrieval"}
    query, document = (embedder.encode(TEXTS, role=role) for role in ("query", "document"))
    assert not np.allclose(query, document, atol=1e-3)
    close(embedder.encode(TEXTS, role="query", tasks=["sts"]), document)
    names = trained(embedder, examples)
    assert {n.split(".")[-2] for n in names} == {"retrieval", "sts"}
    assert all(p.requires_grad for n, p in embedder.named_parameters() if ".lora_" in n)
    embedder.eval().save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model", device="cpu")
    close(again.encode(TEXTS, role="query"), query)
    close(again.encode(TEXTS, role="document"), document)


def test_a_likelihood_does_not_depend_on_what_was_encoded_before(build):
    embedder = shaken(build(adapter={"r": 4, "tasks": ["a1", "b1"], "route": {"query": "a1", "default": "b1"}})).eval()
    pairs = [("one text", "another")]
    scores = [embedder.score(pairs)[0]]
    for role in ("query", "document"):
        vectors = embedder.encode(TEXTS, role=role)
        scores.append(embedder.score(pairs)[0])
    assert scores[0] == scores[1] == scores[2]
    with embedder.routed("b1"):
        assert embedder.score(pairs)[0] == scores[0]
    with embedder.routed("a1"):
        assert embedder.score(pairs)[0] != scores[0]
        with embedder.routed("b1"):
            pass
        assert embedder.score(pairs)[0] != scores[0]
    close(embedder.encode(TEXTS, role="document"), vectors)


@pytest.mark.parametrize(("family", "name"), [("bert", "query"), ("llama", "layers"), ("llama", "v_proj")])
def test_a_task_called_like_a_layer_is_refused_before_training(build, family, name):
    with pytest.raises(ConfigError, match=f"tasks: '{name}' is also the name of a layer of"):
        build(family, adapter={"r": 4, "tasks": ["other", name]})


@pytest.mark.parametrize("name", ["retrieval.query", "", "../up", "default", "lora_A"])
def test_names_that_peft_cannot_hold_are_refused_by_validation(name):
    with pytest.raises(ConfigError, match=r"adapter.tasks.1: .* cannot name an adapter: expected letters"):
        load_model({"backbone": {"use": "llama", "path": "x"}, "adapter": {"tasks": ["a", name]}})


def test_a_task_listed_twice_is_refused():
    with pytest.raises(ConfigError, match=r"adapter.tasks.1: 'a' is listed twice"):
        load_model({"backbone": {"use": "llama", "path": "x"}, "adapter": {"tasks": ["a", "a"]}})


def test_the_reference_of_a_continued_adapter_is_the_model_with_it(build, adapters, examples, tmp_path):
    folder, first, _ = adapters
    embedder = build(adapter={"path": str(folder / "first")}).eval()
    before = embedder.score([("one text", "another")])[0]
    with embedder.reference():
        close(embedder.encode(TEXTS), first)
    step = CachedStep(embedder.train(), build_losses(load_losses("dpo")))
    assert step(make_batch(examples[:4])).losses["dpo"] == pytest.approx(np.log(2), abs=1e-6)
    gradients = {n: p.grad for n, p in embedder.trainable().items()}
    assert any(gradient is not None and gradient.any() for gradient in gradients.values())
    shaken(embedder, 7).eval()
    after = embedder.encode(TEXTS)
    with embedder.reference():
        assert embedder.score([("one text", "another")])[0] == before
        assert not embedder.training
    with embedder.unadapted():
        close(embedder.encode(TEXTS), build().encode(TEXTS))
    assert np.array_equal(embedder.encode(TEXTS), after)
    assert not np.allclose(after, first, atol=1e-3)
    embedder.save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model", device="cpu")
    with again.reference():  # a model directory's adapter is the training: what was before it is the base
        close(again.encode(TEXTS), build().encode(TEXTS))


def test_the_config_says_what_a_trained_adapter_is(build, tmp_path):
    shaken(build(adapter={"r": 4, "alpha": 8, "method": "dora", "dropout": 0.25})).adapter.save_pretrained(
        tmp_path / "a"
    )
    continued = build(adapter={"path": str(tmp_path / "a")})
    found = continued.config.adapter
    assert (found.method, found.r, found.alpha, found.dropout) == ("dora", 4, 8.0, 0.25)
    continued.save(tmp_path / "model")
    again = Embedder.from_directory(tmp_path / "model", device="cpu")
    assert again.config.adapter.model_copy(update={"path": None}) == found.model_copy(update={"path": None})
    assert again.fingerprint() == continued.fingerprint()


@pytest.mark.parametrize(("given", "expected"), [({}, 0.25), ({"dropout": 0.0}, 0.0), ({"dropout": 0.5}, 0.5)])
def test_dropout_may_change_when_an_adapter_is_continued(build, tmp_path, given, expected):
    build(adapter={"r": 4, "dropout": 0.25}).adapter.save_pretrained(tmp_path / "a")
    adapter = build(adapter={"path": str(tmp_path / "a"), **given}).adapter
    rates = {getattr(m, "p", 0.0) for n, m in adapter.named_modules() if n.endswith("lora_dropout.default")}
    assert rates == {expected}


def test_gradients_of_task_adapters_do_not_depend_on_the_chunk_size(build, examples):
    def gradients(chunk_tokens: int) -> dict[str, torch.Tensor]:
        embedder = shaken(build(adapter={"r": 4, "tasks": ["query", "document"]})).train()
        CachedStep(embedder, build_losses(load_losses("infonce")), chunk_tokens=chunk_tokens)(make_batch(examples))
        return {n: p.grad for n, p in embedder.trainable().items()}

    whole = gradients(100_000)
    assert all(gradient is not None for gradient in whole.values())
    for name, gradient in gradients(40).items():
        close(gradient, whole[name])


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            {"targets": ["q_proj", "qq_proj"]},
            "'qq_proj' matches no layer of LlamaForCausalLM.\n  Its linear",
        ),
        ({"targets": "nothing_like_it"}, "targets 'nothing_like_it'"),
        ({"merge": ["no/such/folder/at/all"]}, "no/such/folder"),
    ],
)
def test_what_does_not_fit_is_refused(build, section, expected):
    with pytest.raises((ConfigError, AssetError), match=expected):
        build(adapter=section)


@pytest.mark.parametrize(
    "section", [{"route": {"query": "a"}}, {"method": "bitfit", "tasks": ["a"]}, {"method": "full", "path": "x"}]
)
def test_contradictions_are_refused_by_validation(section):
    with pytest.raises(ConfigError, match=r"adapter"):
        load_model({"backbone": {"use": "llama", "path": "x"}, "adapter": section})


def test_an_adapter_of_another_model_is_refused(build, tmp_path):
    shaken(build("gpt_neox", adapter={"r": 4})).adapter.save_pretrained(tmp_path / "other")
    with pytest.raises(AssetError, match="fits no layer of LlamaForCausalLM: it was trained on another model"):
        build("llama", adapter={"path": str(tmp_path / "other")})


def test_an_adapter_with_whole_layers_is_refused(tiny_models, build, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["v_proj"], modules_to_save=["lm_head"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_models("llama")), config).save_pretrained(
        tmp_path / "more"
    )
    with pytest.raises(AssetError, match=r"lm_head.weight is that of a whole layer"):
        build(adapter={"path": str(tmp_path / "more")})


def test_missing_adapter_weights_are_refused(build, tmp_path):
    from safetensors.torch import load_file, save_file

    build(adapter={"r": 4}).adapter.save_pretrained(tmp_path / "cut")
    file = tmp_path / "cut" / "adapter_model.safetensors"
    weights = load_file(file)
    save_file(dict(list(weights.items())[1:]), file)
    with pytest.raises(AssetError, match=r"1 weights do not fit the model \(such as .*lora_"):
        build(adapter={"path": str(tmp_path / "cut")})


def test_pickled_adapter_weights_are_refused(build, tmp_path):
    build(adapter={"r": 4}).adapter.save_pretrained(tmp_path / "old")
    (tmp_path / "old" / "adapter_model.safetensors").rename(tmp_path / "old" / "adapter_model.bin")
    with pytest.raises(AssetError, match="pickle weights are not read"):
        build(adapter={"merge": [str(tmp_path / "old")]})


def test_checkpointing_and_task_adapters_do_not_go_together(build):
    from ullme.config.schema import TrainerConfig
    from ullme.train.losses import check_checkpointing

    trainer = TrainerConfig(max_steps=1, batch_size=2, gradient_checkpointing=True)
    check_checkpointing(build(adapter={"r": 4}), trainer, "stage 'a'")
    with pytest.raises(ConfigError, match="stage 'a': gradient_checkpointing recomputes layers"):
        check_checkpointing(build(adapter={"r": 4, "tasks": ["one", "two"]}), trainer, "stage 'a'")
