"""The Python API as the paper prints it: listings 1 to 3, and what a PyTorch user expects of the objects in them."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pipelines import environment, rows, ullme
from torch.utils.data import DataLoader

from ullme import AssetError, ConfigError, DataError, Embedder, Example, TrainingError
from ullme.errors import UnknownPlugin
from ullme.models import ULLME, WrappedULLME
from ullme.trainer import GradCacheTrainer, collate

LISTING_1 = """
from ullme.models import ULLME
model = ULLME(
   model_name_or_path="mistralai/Mistral-7B-v0.1",
   model_backbone_type="mistral",
   lora_name="ullme-mistral",
   loar_r=16,
   lora_alpha=32,
   )
input_sentence = "This a example sentence."
model_inputs = model.tokenizer(
   [input_sentence],
   return_tensors='pt'
   )
model_output = model(
   input_ids=model_inputs['input_ids'],
   attention_mask=model_inputs['attention_mask'],
   is_generate=False
   )
"""

LISTING_2 = """
from ullme.trainer import GradCacheTrainer
trainer = GradCacheTrainer(
    con_loss_type='NTXentLoss',
    gen_loss_type='dpo', # 'sft'
    use_kl_loss=True
)
trainer.fit_epoch(
    model=model,
    train_loader=train_dataloader,
)
"""

LISTING_3 = """
from ullme.models import WrappedULLME
from ullme.eval import eval_mteb_dataset
model = WrappedULLME(
    model_name_or_path="mistralai/Mistral-7B-v0.1",
    model_backbone_type="mistral",
    lora_name="ullme-mistral",
    lora_alpha=32,
    model_checkpoint="path/to/your/checkpoint"
    )
eval_result = eval_mteb_dataset(
    model=model,
    dataset_name='MSMARCO',
    langs=['eng'],
    )
"""

TEXTS = ["a fox", "the lazy dog jumps over the quick brown fox", "sorting an array in place"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory) -> str:
    import tiny
    from transformers import MistralConfig, MistralForCausalLM

    folder, words = tmp_path_factory.mktemp("mistral"), tiny.tokenizer()
    common = {**tiny.SIZES, "vocab_size": len(words), "max_position_embeddings": 128}
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**common, num_key_value_heads=2, sliding_window=None))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tiny_model(tiny_models):
    """A function making a ULLME over a tiny llama in fp32, with LoRA unless told otherwise."""

    def make(cls: type[ULLME] = ULLME, family: str = "llama", **options) -> ULLME:
        given = {"lora_name": "tiny", "lora_r": 4, "dropout": 0.0, "model_dtype": torch.float32, **options}
        return cls(str(tiny_models(family)), family, **given)

    return make


def paper_rows(count: int = 24, negatives: int = 2) -> list[dict]:
    """Rows as the original's data has them."""
    made = rows(count, negatives=negatives)
    return [{"query": r["query"], "positive": r["positives"], "negative": r["negatives"], "cluster": 0} for r in made]


def tokens(model: ULLME, texts=TEXTS, side: str = "right"):
    return model.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)


# ---- the listings -------------------------------------------------------------------------------------------------


def msmarco(folder: Path) -> None:
    """What the hub's mteb/msmarco holds, in the small, where `datasets` looks first."""
    folder.mkdir(parents=True)

    def write(name: str, lines: list[dict]) -> None:
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    made = rows(12)
    write("corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": row["positives"][0]} for i, row in enumerate(made)])
    write("queries.jsonl", [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(made)])
    write("qrels.jsonl", [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(len(made))])
    files = [("corpus", "corpus", "corpus"), ("queries", "queries", "queries"), ("default", "dev", "qrels")]
    configs = "".join(
        f"- config_name: {config}\n  data_files: [{{split: {split}, path: {file}.jsonl}}]\n"
        for config, split, file in files
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


def test_the_listings_run_one_after_the_other(mistral, tmp_path, monkeypatch):
    """As printed but for the model's name, the checkpoint's, and where MSMARCO's data are."""
    names = {"train_dataloader": DataLoader(paper_rows(), batch_size=8, collate_fn=collate)}

    with pytest.warns(FutureWarning, match="lora_r"):
        exec(LISTING_1.replace("mistralai/Mistral-7B-v0.1", mistral), names)
    model = names["model"]
    assert names["model_output"]["rep"].shape == (1, 64)
    assert model.embedder.config.adapter.r == 16

    before = names["model_output"]["rep"].clone()
    exec(LISTING_2, names)
    assert not torch.allclose(model(**tokens(model, ["This a example sentence."]))["rep"], before)
    model.save(tmp_path / "checkpoint")

    msmarco(tmp_path / "mteb" / "msmarco")
    monkeypatch.chdir(tmp_path)
    listing = LISTING_3.replace("mistralai/Mistral-7B-v0.1", mistral)
    exec(listing.replace("path/to/your/checkpoint", str(tmp_path / "checkpoint")), names)
    assert set(names["eval_result"]) == {"eng"}
    assert 0 < names["eval_result"]["eng"] < 100
    np.testing.assert_array_equal(names["model"].encode(TEXTS), model.encode(TEXTS))

    import mteb

    options = {"co2_tracker": False, "cache": None, "show_progress_bar": False}
    direct = mteb.evaluate(names["model"], mteb.get_task("MSMARCO"), **options).task_results[0].get_score()
    assert names["eval_result"]["eng"] == pytest.approx(100 * direct, abs=1e-3)


def test_the_package_and_its_training_and_evaluation_import_no_torch():
    code = "import sys, ullme, ullme.trainer, ullme.eval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0


# ---- the model ----------------------------------------------------------------------------------------------------


class TestForward:
    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", "weightedmean"])
    def test_rep_equals_the_vector_of_the_text_whatever_the_padding(self, tiny_model, side, pooling):
        model = tiny_model(pooling_method=pooling)
        rep = model(**tokens(model, side=side))["rep"]
        assert rep.dtype == torch.float32
        np.testing.assert_allclose(rep.detach().numpy(), model.encode(TEXTS), atol=1e-6)
        alone = [model(**tokens(model, [text]))["rep"][0] for text in TEXTS]
        torch.testing.assert_close(rep, torch.stack(alone), atol=1e-5, rtol=1e-5)

    def test_rep_is_the_mean_of_the_states_under_attention_to_everything(self, tiny_model, tiny_models):
        from transformers import AutoModelForCausalLM

        model = tiny_model(lora_name=None)
        stock = AutoModelForCausalLM.from_pretrained(tiny_models("llama"), attn_implementation="eager").base_model
        ids = tokens(model, TEXTS[1:2])["input_ids"]
        everything = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        states = stock(input_ids=ids, attention_mask=everything).last_hidden_state
        torch.testing.assert_close(model(ids)["rep"], states.mean(1), atol=1e-5, rtol=1e-4)
        causal = stock(input_ids=ids).last_hidden_state.mean(1)
        assert (causal - states.mean(1)).abs().max() > 1e-2

    @pytest.mark.parametrize("family", ["llama", "gemma3"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_is_generate_equals_the_stock_model_bit_for_bit(self, tiny_model, tiny_models, family, dtype):
        from transformers import AutoModelForCausalLM

        model = tiny_model(family=family, model_dtype=dtype, lora_name=None)
        stock = AutoModelForCausalLM.from_pretrained(tiny_models(family), dtype=dtype)
        inputs = tokens(model)
        model(**inputs)  # a bidirectional call leaves no trace
        output = model(**inputs, is_generate=True, labels=inputs["input_ids"])
        expected = stock(**inputs, labels=inputs["input_ids"])
        assert torch.equal(output["logits"], expected.logits)
        assert torch.equal(output["loss"], expected.loss)

    def test_an_untrained_adapter_leaves_the_logits_alone_and_a_trained_one_can_be_switched_off(self, tiny_model):
        model, plain = tiny_model(), tiny_model(lora_name=None)
        inputs = tokens(model)
        expected = plain(**inputs, is_generate=True)["logits"]
        assert torch.equal(model(**inputs, is_generate=True)["logits"], expected)
        trains = [p.requires_grad for p in model.parameters()]
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        assert not torch.allclose(model(**inputs, is_generate=True)["logits"], expected)
        assert torch.equal(model(**inputs, is_generate=True, disable_lora=True)["logits"], expected)
        assert [p.requires_grad for p in model.parameters()] == trains

    def test_logits_of_left_padded_texts_are_those_of_the_text(self, tiny_model):
        model = tiny_model()
        left = model(**tokens(model, side="left"), is_generate=True)["logits"]
        for row, text in zip(left, TEXTS, strict=True):
            alone = model(**tokens(model, [text]), is_generate=True)["logits"][0]
            torch.testing.assert_close(row[-len(alone) :], alone, atol=1e-4, rtol=1e-4)

    def test_generation_is_the_stock_models(self, tiny_model, tiny_models):
        from transformers import AutoModelForCausalLM

        model = tiny_model(lora_name=None)
        inputs = tokens(model, TEXTS[:1])
        options = {"max_new_tokens": 8, "do_sample": False}
        stock = AutoModelForCausalLM.from_pretrained(tiny_models("llama")).generate(**inputs, **options)
        assert torch.equal(model.generate(**inputs, **options), stock)

    def test_a_prompt_is_seen_and_not_pooled(self, tiny_model):
        model = tiny_model()
        inputs = tokens(model, ["find this a fox", "find this a dog"])
        whole, rest = model(**inputs)["rep"], model(**inputs, prompt_length=3)["rep"]
        assert not torch.allclose(whole, rest)
        alone = model(input_ids=inputs["input_ids"][:, 3:])["rep"]
        assert not torch.allclose(rest, alone)  # what stands before the text is in its states

    def test_gradients_reach_the_adapter_and_nothing_else(self, tiny_model):
        model = tiny_model()
        model(**tokens(model))["rep"].square().sum().backward()
        touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert touched == {name for name, _ in model.named_parameters() if "lora_" in name}

    def test_an_encoder_gives_vectors_and_no_logits(self, tiny_model):
        model = tiny_model(family="bert", lora_name=None)
        assert model(**tokens(model))["rep"].shape == (3, 64)  # token types come along and say nothing
        with pytest.raises(ConfigError, match=r"is_generate: BertModel is an encoder, without a language-model head"):
            model(**tokens(model), is_generate=True)

    @pytest.mark.parametrize(
        ("change", "error", "says"),
        [
            ({"attention_mask": torch.zeros(1, 4)}, DataError, "text 0 of the batch has no token"),
            ({"prompt_length": 4}, DataError, "4 tokens, all of them prompt"),
            ({"input_ids": torch.ones(1, 200, dtype=torch.long)}, DataError, "200 tokens and the model reads 128"),
            ({"labels": torch.ones(1, 4, dtype=torch.long)}, TypeError, "labels is of use with is_generate=True only"),
            ({"token_type_ids": torch.ones(1, 4, dtype=torch.long)}, DataError, "pairs of texts"),
        ],
    )
    def test_inputs_that_give_no_vector_are_refused(self, tiny_model, change, error, says):
        with pytest.raises(error, match=says):
            tiny_model()(**{"input_ids": torch.ones(1, 4, dtype=torch.long), **change})


class TestModule:
    def test_it_can_be_moved_copied_and_loaded_from_a_state_dict(self, tiny_model):
        model = tiny_model()
        inputs = tokens(model)
        expected = model(**inputs)["rep"]
        torch.testing.assert_close(copy.deepcopy(model).to(torch.float64)(**inputs)["rep"], expected)
        other = tiny_model(seed=1)
        for parameter in other.parameters():
            torch.nn.init.normal_(parameter.data)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(**inputs)["rep"], expected)
        assert not model.training  # as transformers gives its models

    def test_it_can_be_compiled(self, tiny_model):
        model = tiny_model()
        inputs = tokens(model)
        compiled = torch.compile(model, backend="eager")
        for mode in ({}, {"is_generate": True}):
            [(name, found)], [(_, expected)] = compiled(**inputs, **mode).items(), model(**inputs, **mode).items()
            torch.testing.assert_close(found, expected, msg=name)
        compiled(**inputs)["rep"].sum().backward()
        assert all(p.grad is not None for name, p in model.named_parameters() if "lora_B" in name)

    def test_it_can_be_wrapped_for_several_processes(self, tiny_model, tmp_path):
        from torch import distributed
        from torch.nn.parallel import DistributedDataParallel

        model = tiny_model()
        inputs = tokens(model)
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
        try:
            wrapped = DistributedDataParallel(model)
            wrapped(**inputs)["rep"].square().sum().backward()
            found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
            with pytest.raises(ConfigError, match=r"pass its \.module"):
                GradCacheTrainer().fit_epoch(wrapped, [paper_rows(4)])
        finally:
            distributed.destroy_process_group()
        model.zero_grad()
        model(**inputs)["rep"].square().sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(found[name], parameter.grad)

    def test_what_is_saved_is_read_back(self, tiny_model, tmp_path):
        model = tiny_model(pooling_method="weightedmean", normalize=True)
        GradCacheTrainer(lr=1e-2).fit_epoch(model, [paper_rows(8)])
        model.save(tmp_path / "model")
        for other in (ULLME.load(tmp_path / "model"), Embedder.from_directory(tmp_path / "model")):
            np.testing.assert_array_equal(other.encode(TEXTS), model.encode(TEXTS, is_query=False))

    def test_an_embedder_becomes_one_and_shares_its_weights(self, build):
        embedder = build(adapter={})
        model = ULLME.from_embedder(embedder)
        np.testing.assert_allclose(model(**tokens(model))["rep"].detach().numpy(), embedder.encode(TEXTS), atol=1e-6)
        assert set(map(id, model.parameters())) == set(map(id, embedder.parameters()))

    def test_one_text_gives_one_vector(self, tiny_model):
        model = tiny_model()
        assert model.encode(TEXTS[0]).shape == (64,)
        np.testing.assert_allclose(model.encode(TEXTS[0]), model.encode(TEXTS, batch_size=1)[0], atol=1e-6)
        assert not np.allclose(model.encode(TEXTS[0], instruction="find foxes"), model.encode(TEXTS[0]))

    def test_a_tokenizer_without_padding_gets_some(self, tiny_models, tmp_path):
        import shutil

        folder = Path(shutil.copytree(tiny_models("llama"), tmp_path / "model"))
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
        model = ULLME(str(folder), "llama", model_dtype="float32")
        np.testing.assert_allclose(model(**tokens(model))["rep"].detach().numpy(), model.encode(TEXTS), atol=1e-6)


class TestArguments:
    def test_the_papers_spelling_is_taken_with_a_warning(self, tiny_model):
        with pytest.warns(FutureWarning, match="loar_r is the paper's misspelling of lora_r"):
            assert tiny_model(lora_r=None, loar_r=8).embedder.config.adapter.r == 8
        with pytest.raises(ConfigError, match="lora_r is 4 and loar_r is 8: they are one setting"):
            tiny_model(loar_r=8)

    def test_the_family_may_be_left_open(self, tiny_models):
        assert ULLME(str(tiny_models("llama"))).embedder.config.backbone.name == "auto"

    def test_any_other_entry_of_a_model_section_is_taken(self, tiny_model):
        model = tiny_model(attention="causal", dimensions=16, prompts={"query": "find"})
        assert model(**tokens(model))["rep"].shape == (3, 16)
        assert model.embedder.config.attention.embed.name == "causal"

    @pytest.mark.parametrize(
        ("options", "error", "says"),
        [
            ({"model_backbone_type": "lama"}, UnknownPlugin, r"model_backbone_type: .*Did you mean 'llama'"),
            ({"pooling_method": "meen"}, UnknownPlugin, r"pooling_method: .*Did you mean 'mean'"),
            ({"pooler": "mean", "pooled": 1}, ConfigError, r"pooled: unknown key. Did you mean 'pooler'"),
            ({"model_dtype": torch.int8}, ConfigError, r"dtype: expected 'float32', 'bfloat16' or 'float16'"),
            ({"lora_name": "a", "lora_r": 0}, ConfigError, r"adapter\.r: expected a number above 0, found 0"),
            ({"attn_implementation": "sdpaa"}, ConfigError, "sdpaa"),
        ],
    )
    def test_mistakes_are_named(self, tiny_models, options, error, says):
        with pytest.raises(error, match=says):
            ULLME(**{"model_name_or_path": str(tiny_models("llama")), "model_backbone_type": "llama", **options})


# ---- checkpoints --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny_models, tmp_path_factory):
    """The output of a run on the tiny llama, with its exported model."""
    from pipelines import pipeline, write, write_rows

    folder = tmp_path_factory.mktemp("run")
    content = pipeline(tiny_models("llama"), write_rows(folder / "rows.jsonl"), folder / "out", max_steps=2)
    done = ullme("run", write(folder / "run.yaml", content), "--no-progress")
    assert done.returncode == 0, done.stderr
    return folder / "out"


class TestCheckpoint:
    @pytest.mark.parametrize(
        "place", ["model", ".", "stages/1-grl/trained.safetensors", "stages/1-grl", "model/adapter"]
    )
    def test_every_form_gives_the_trained_model(self, tiny_model, run, place):
        expected = Embedder.from_directory(run / "model").encode(TEXTS)
        model = tiny_model(WrappedULLME, normalize=True, model_checkpoint=run / place, lora_alpha=32)
        assert not model.training
        np.testing.assert_allclose(model.encode(TEXTS, is_query=False), expected, atol=1e-6)
        assert not np.allclose(tiny_model(normalize=True).encode(TEXTS), expected, atol=1e-3)

    def test_a_run_without_export_is_read_from_its_stages(self, tiny_model, run, tmp_path):
        import shutil

        bare = Path(shutil.copytree(run, tmp_path / "bare"))
        shutil.rmtree(bare / "model")
        found = ULLME.load(bare).encode(TEXTS, is_query=False)
        np.testing.assert_allclose(found, Embedder.from_directory(run / "model").encode(TEXTS), atol=1e-6)
        (bare / "stages" / "1-grl" / "done.json").unlink()
        with pytest.raises(AssetError, match="stage 1-grl is not trained yet"):
            ULLME.load(bare)

    @pytest.mark.parametrize(
        ("place", "options", "says"),
        [
            ("nowhere/at/all", {}, "no such file or folder"),
            ("model/backbone", {}, "a transformers model is no checkpoint"),
            ("model/ullme.yaml", {}, r"found a \.yaml file"),
            ("stages", {}, r"found 1-grl\.\n  Expected a model directory"),
            ("model", {"lora_r": 8}, "lora_r: found 8, but the model in .* has 4"),
            ("model", {"pooling_method": "cls"}, "pooling_method: found 'cls', but the model in .* has 'mean'"),
            ("model", {"dimensions": 16}, "dimensions: .* says itself what the whole model is"),
            ("stages/1-grl/trained.safetensors", {"lora_r": 8}, "trained with rank 4, this model has 8"),
            ("model/adapter", {"lora_r": 8}, "lora_r: found 8, but the adapter in .* has 4"),
            ("stages/1-grl/trained.safetensors", {"lora_name": None}, "LoRA adapter, and this model has none"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, tiny_model, run, place, options, says):
        with pytest.raises((AssetError, ConfigError), match=says):
            tiny_model(model_checkpoint=str(run / place), **options)


# ---- the trainer --------------------------------------------------------------------------------------------------


class TestTrainer:
    def test_epochs_continue_each_other_and_lower_the_loss(self, tiny_model):
        model = tiny_model(dropout=0.1)
        trainer = GradCacheTrainer("NTXentLoss", "dpo", use_kl_loss=True, lr=5e-3)
        loader = DataLoader(paper_rows(), batch_size=8, shuffle=True, collate_fn=collate)
        torch.manual_seed(0)
        epochs = [trainer.fit_epoch(model=model, train_loader=loader) for _ in range(4)]
        assert set(epochs[0]) == {"loss", "ntxent", "dpo", "grl-kl"}
        assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
        for epoch in epochs:  # the paper's weights
            assert epoch["loss"] == pytest.approx(epoch["ntxent"] + 0.5 * epoch["dpo"] + epoch["grl-kl"], rel=1e-5)
        assert trainer.steps == 12
        assert not model.training

    @pytest.mark.parametrize(
        ("con", "gen", "kl"),
        [
            losses
            for losses in itertools.product([None, "NTXentLoss", "infonce"], [None, "sft", "dpo"], [False, True])
            if any(losses)
        ],
    )
    def test_every_combination_trains_the_whole_adapter(self, tiny_model, con, gen, kl):
        model = tiny_model()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        trainer = GradCacheTrainer(con, gen, kl, lr=1e-2)
        means = trainer.fit_epoch(model, [paper_rows(4), paper_rows(4)])
        assert len(means) == 1 + bool(con) + bool(gen) + kl
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]) != ("lora_" in name), name

    def test_a_step_is_what_a_plain_loop_over_the_module_does(self, tiny_model):
        """The contrastive part by hand: the module, pytorch-metric-learning's loss, torch's AdamW."""
        losses = pytest.importorskip("pytorch_metric_learning.losses")
        made = paper_rows(6)
        ours, theirs = tiny_model(), tiny_model()
        for _ in range(2):  # A learns from the second step on
            GradCacheTrainer("NTXentLoss", lr=1e-2, grad_clip=None).fit_epoch(ours, [made])
            texts = [row["query"] for row in made]
            labels = list(range(len(made)))
            for number, row in enumerate(made):
                texts += [*row["positive"], *row["negative"]]
                labels += [number, *(100 + 10 * number + place for place in range(len(row["negative"])))]
            rep = theirs(**tokens(theirs, texts))["rep"]
            loss = losses.NTXentLoss(temperature=0.05)(rep, torch.tensor(labels))
            optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=2e-4)
        assert not np.allclose(ours.encode(TEXTS), tiny_model().encode(TEXTS), atol=2e-2)

    def test_the_size_of_a_chunk_changes_nothing(self, tiny_model):
        results = []
        for chunk_tokens in (40, 100_000):
            model = tiny_model()
            trainer = GradCacheTrainer("NTXentLoss", "sft", True, lr=1e-3, chunk_tokens=chunk_tokens)
            means = [trainer.fit_epoch(model, [paper_rows(6)])["loss"] for _ in range(2)]
            results.append((means, model.encode(TEXTS)))
        assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
        np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-3)

    def test_where_all_weights_train_the_reference_is_the_model_as_it_came(self, tiny_model):
        model = tiny_model(lora_name=None)
        trainer = GradCacheTrainer(None, "dpo", lr=1e-4)
        first, second = (trainer.fit_epoch(model, [paper_rows(4)])["dpo"] for _ in range(2))
        assert first == pytest.approx(np.log(2), abs=1e-6)
        assert second < first - 1e-4

    def test_batches_come_in_any_form(self, tiny_model):
        made = paper_rows(4)
        columns = {key: [row[key] for row in made] for key in made[0]}
        examples = [Example(row["query"], tuple(row["positive"]), tuple(row["negative"])) for row in made]
        trainer = [GradCacheTrainer("infonce", "dpo", lr=0.0) for _ in range(4)]
        model = tiny_model()
        forms = [made, columns, examples, collate(made)]
        losses = [t.fit_epoch(model, [form])["loss"] for t, form in zip(trainer, forms, strict=True)]
        assert losses == [losses[0]] * 4

    def test_scheduler_and_listener_see_every_step(self, tiny_model):
        rates, seen = [], []
        trainer = GradCacheTrainer(
            "infonce", lr=1.0, scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.0)
        )
        model = tiny_model()
        vectors = []

        def listen(step, result):
            seen.append((step, sorted(result.losses)))
            rates.append(trainer.optimizer.param_groups[0]["lr"])
            vectors.append(model.encode(TEXTS))

        trainer.fit_epoch(model, [paper_rows(4)] * 3, on_step=listen)
        assert seen == [(step, ["infonce"]) for step in range(3)]
        assert rates == [0.0] * 3
        np.testing.assert_array_equal(vectors[0], vectors[2])  # a rate of 0 after the first step

    @pytest.mark.parametrize(
        ("options", "error", "says"),
        [
            ({"con_loss_type": "NTXentLos"}, UnknownPlugin, r"con_loss_type: .*Did you mean 'ntxentloss'"),
            ({"gen_loss_type": "dpoo"}, UnknownPlugin, r"gen_loss_type: .*Did you mean 'dpo'"),
            ({"con_options": {"temprature": 1}}, ConfigError, r"temprature: unknown key. Did you mean 'temperature'"),
            ({"temperature": -1.0}, ConfigError, r"temperature: expected a number above 0"),
            ({"beta": 0.1}, ConfigError, r"beta: given, but gen_loss_type names no loss"),
            ({"con_loss_type": None}, ConfigError, "expected at least one item"),
        ],
    )
    def test_mistakes_are_named(self, options, error, says):
        with pytest.raises(error, match=says):
            GradCacheTrainer(**options)

    @pytest.mark.parametrize(
        ("batch", "says"),
        [
            ([{"query": "a", "positve": "b"}], "row 0: unknown column 'positve'. Did you mean 'positive'"),
            ([{"query": "a"}], "row 0: expected at least one positive passage"),
            ([{"query": "a", "positive": ["b", ""], "negative": "c"}], "row 0: positive: expected text, found ''"),
            ([{"query": "a", "positive": "b"}], "dpo compare a query's positive with negatives of its own, but 1 of 1"),
            ({"query": "a", "positive": ["b"]}, "column 'query': expected a list"),
            ({"query": ["a", "b"], "positive": ["b"]}, "columns of different lengths"),
            ("text", "expected rows or columns of texts, found str"),
            ([], "expected at least one row"),
            (None, "train_loader gave no batch"),
        ],
    )
    def test_batches_that_cannot_be_used_are_refused(self, tiny_model, batch, says):
        with pytest.raises(DataError, match=says):
            GradCacheTrainer(gen_loss_type="dpo").fit_epoch(tiny_model(), [] if batch is None else [batch])

    def test_torchs_own_collation_is_noticed(self, tiny_model):
        """It would pair the first query with the first passages of all queries."""
        loader = DataLoader(paper_rows(2, negatives=2), batch_size=2)
        with pytest.raises(DataError, match="collate_fn=ullme"):
            GradCacheTrainer().fit_epoch(tiny_model(), loader)

    @pytest.mark.parametrize(
        ("model", "losses", "says"),
        [
            ({"family": "bert", "lora_name": None}, {"gen_loss_type": "sft"}, "likelihoods, which an encoder does not"),
            ({"lora_name": None, "model_dtype": "bfloat16"}, {}, r"trained in torch\.bfloat16"),
        ],
    )
    def test_models_that_cannot_be_trained_so_are_refused(self, tiny_model, model, losses, says):
        with pytest.raises(ConfigError, match=says):
            GradCacheTrainer(**losses).fit_epoch(tiny_model(**model), [paper_rows(4)])

    def test_one_trainer_is_for_one_model(self, tiny_model):
        trainer = GradCacheTrainer()
        trainer.fit_epoch(tiny_model(), [paper_rows(4)])
        with pytest.raises(ConfigError, match="the optimiser of another model"):
            trainer.fit_epoch(tiny_model(), [paper_rows(4)])
        with pytest.raises(ConfigError, match=r"expected a ullme\.models\.ULLME or a ullme\.Embedder, found Linear"):
            GradCacheTrainer().fit_epoch(torch.nn.Linear(2, 2), [paper_rows(4)])

    def test_a_gradient_that_is_not_finite_is_an_error(self, tiny_model):
        model = tiny_model()
        next(p for name, p in model.named_parameters() if "lora_B" in name).register_hook(lambda g: g * torch.inf)
        with pytest.raises(TrainingError, match=r"gradient is (nan|inf) though every loss is finite"):
            GradCacheTrainer().fit_epoch(model, [paper_rows(4)])


# ---- evaluation ---------------------------------------------------------------------------------------------------


def languages_task():
    """An mteb task with subsets of one and of two languages, whose data are here."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class Ours(AbsTaskSTS):
        metadata = TaskMetadata(
            name="OurSTS",
            description="of a test",
            type="STS",
            main_score="cosine_spearman",
            eval_splits=["test"],
            eval_langs={"en": ["eng-Latn"], "en-de": ["eng-Latn", "deu-Latn"], "de": ["deu-Latn"]},
            dataset={"path": "ours", "revision": "1"},
        )

        def load_data(self, **kwargs) -> None:
            self.dataset = {name: DatasetDict({"test": Dataset.from_dict(pairs(name))}) for name in self.hf_subsets}
            self.data_loaded = True

    return Ours()


def pairs(subset: str) -> dict:
    made = rows(12)
    first = [f"{subset} {row['query']}" for row in made]
    second = [made[(5 * i) % 12]["positives"][0] for i in range(12)]
    return {"sentence1": first, "sentence2": second, "score": [(7 * i + len(subset)) % 12 / 2 for i in range(12)]}


class TestEvaluation:
    def test_scores_are_means_over_the_subsets_of_a_language(self, tiny_model):
        import mteb

        from ullme.eval import eval_mteb_dataset

        model = tiny_model(WrappedULLME)
        options = {"co2_tracker": False, "cache": None, "show_progress_bar": False}
        result = mteb.evaluate(model, languages_task(), **options).task_results[0]
        score = {subset["hf_subset"]: 100 * subset["main_score"] for subset in result.scores["test"]}
        found = eval_mteb_dataset(model, languages_task(), langs=["eng", "deu"])
        assert found["eng"] == pytest.approx((score["en"] + score["en-de"]) / 2)
        assert found["deu"] == pytest.approx((score["de"] + score["en-de"]) / 2)
        assert eval_mteb_dataset(model, languages_task(), langs="deu-Latn") == pytest.approx({"deu-Latn": found["deu"]})

    def test_every_kind_of_model_is_taken(self, tiny_model):
        from ullme.eval import eval_mteb_dataset

        model = tiny_model()
        expected = eval_mteb_dataset(model, languages_task())
        assert eval_mteb_dataset(model.embedder, languages_task()) == expected
        assert eval_mteb_dataset(torch.compile(model), languages_task()) == expected

        class Theirs:
            def encode(self, texts, batch_size=8):
                return torch.stack([torch.as_tensor(model.encode(text)) for text in texts])

        assert eval_mteb_dataset(Theirs(), languages_task(), batch_size=2) == pytest.approx(expected, abs=1e-3)

    def test_a_sentence_transformer_is_taken(self, tiny_models):
        pytest.importorskip("sentence_transformers")
        import mteb
        from sentence_transformers import SentenceTransformer

        from ullme.eval import eval_mteb_dataset

        model = SentenceTransformer(str(tiny_models("bert")), device="cpu")
        options = {"co2_tracker": False, "cache": None, "show_progress_bar": False}
        direct = mteb.evaluate(model, languages_task().filter_languages(["deu"]), **options).task_results[0].get_score()
        found = eval_mteb_dataset(model, languages_task(), langs="deu")
        assert found == pytest.approx({"deu": 100 * direct}, abs=1e-3)

    def test_queries_and_passages_go_where_a_model_wants_them(self, tmp_path, monkeypatch):
        from ullme.eval import eval_mteb_dataset

        seen: dict[str, list] = {"query": [], "corpus": [], "encode": []}

        class FirstVersion:
            def _made(self, way, texts):
                seen[way] += texts
                return np.eye(len(texts), 16, dtype=np.float32) + 0.01

            def encode(self, texts):
                return self._made("encode", texts)

            def encode_queries(self, texts):
                return self._made("query", texts)

            def encode_corpus(self, corpus):
                return self._made("corpus", [row["text"] for row in corpus])

        msmarco(tmp_path / "mteb" / "msmarco")
        monkeypatch.chdir(tmp_path)
        eval_mteb_dataset(FirstVersion(), "MSMARCO")
        assert len(seen["query"]) == len(seen["corpus"]) == 12
        assert seen["encode"] == ["dimension"]
        seen["encode"].clear()
        eval_mteb_dataset(FirstVersion(), "MSMARCO", instruction="find: ")
        assert sum(text.startswith("find: where are") for text in seen["encode"]) == 12

    def test_an_instruction_changes_queries_and_results_are_kept_apart(self, tiny_model, tmp_path, monkeypatch):
        from ullme.eval import eval_mteb_dataset

        msmarco(tmp_path / "mteb" / "msmarco")
        monkeypatch.chdir(tmp_path)
        model = tiny_model()
        out = tmp_path / "results"
        plain = eval_mteb_dataset(model, "MSMARCO", output_folder=out)
        told = eval_mteb_dataset(model, "MSMARCO", output_folder=out, instruction="alpha beta gamma delta 7 7 7")
        assert told != plain
        calls = []
        monkeypatch.setattr(type(model.embedder), "encode", lambda *_, **__: calls.append(1))
        assert eval_mteb_dataset(model, "MSMARCO", output_folder=out) == plain  # read back
        assert not calls

    def test_nothing_outside_is_disturbed(self, tiny_model):
        from ullme.eval import eval_mteb_dataset

        model = tiny_model().train()
        task = languages_task()
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        eval_mteb_dataset(model, task)
        assert torch.equal(torch.rand(3), expected)
        assert model.training
        assert list(task.hf_subsets) == ["en", "en-de", "de"]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"dataset_name": "MSMARC"}, "has no task 'MSMARC'. Did you mean 'MSMARCO'"),
            ({"dataset_name": "MSMARCO", "langs": ["deu"]}, "MSMARCO has eng, not deu"),
            ({"dataset_name": "MSMARCO", "langs": ["eng", "deu"]}, "deu is in none of the tasks"),
            ({"dataset_name": 3}, "expected the name of an mteb task, or a task, found 3"),
            ({"model": torch.nn.Linear(2, 2)}, "Linear has no `encode`"),
        ],
    )
    def test_mistakes_are_named(self, tiny_model, options, says):
        from ullme.eval import eval_mteb_dataset

        with pytest.raises(ConfigError, match=says):
            eval_mteb_dataset(**{"model": tiny_model(), "dataset_name": "MSMARCO", **options})


class TestFirstVersionOfMteb:
    def test_corpus_rows_are_title_and_text_in_any_form(self, tiny_model):
        model = tiny_model(WrappedULLME)
        expected = model.encode(["Foxes a fox", "no title"], is_query=False)
        lines = [{"title": "Foxes", "text": "a fox"}, {"title": "", "text": "no title"}]
        columns = {key: [row[key] for row in lines] for key in ("title", "text")}
        for corpus in (lines, columns, ["Foxes a fox", "no title"]):
            np.testing.assert_array_equal(model.encode_corpus(corpus, batch_size=2), expected)

    def test_queries_and_passages_have_their_own_prompts(self, tiny_model):
        model = tiny_model(WrappedULLME, prompts={"query": "find"})
        plain = tiny_model(WrappedULLME)
        np.testing.assert_array_equal(model.encode_corpus(TEXTS), plain.encode_corpus(TEXTS))
        np.testing.assert_array_equal(model.encode_queries(TEXTS), plain.encode_queries(TEXTS, instruction="find"))
        assert not np.allclose(model.encode_queries(TEXTS), plain.encode_queries(TEXTS))

    def test_results_are_filed_under_the_weights(self, tiny_model):
        model = tiny_model(WrappedULLME)
        meta = model.mteb_model_meta
        assert (meta.name, meta.revision) == ("ullme/tiny", model.embedder.fingerprint())
        assert tiny_model(WrappedULLME, model_revision="dev").mteb_model_meta.revision == "dev"
        assert WrappedULLME.from_embedder(model.embedder).mteb_model_meta.revision == meta.revision
