"""Exported folders under the stock programs that read them: sentence-transformers and transformers, not ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exported import MIXED, distance, exported, st, train

from ullme import ExportError, merged_weights
from ullme.model.reference import read_reference

FAMILIES = ["llama", "gpt_neox", "gemma3", "bert"]
INSTRUCTED = {
    "embed": {
        "default": ["{bos}", "{text}", "{eos}"],
        "query": [{"text": "{bos}", "pool": False}, {"text": "{instruction}\n", "pool": False}, "{text}", "{eos}"],
    }
}
POOLED = {"embed": {"default": ["{bos}", "{instruction}: ", "{text}", "{eos}"]}}


def agrees(embedder, model, limit: float = 1e-5) -> None:
    """Every way in which sentence-transformers gives vectors, on texts of mixed length and script."""
    for mine, theirs in (
        (embedder.encode(MIXED, role="default"), model.encode(MIXED)),
        (embedder.encode(MIXED, role="default"), model.encode(MIXED, batch_size=1)),
        (embedder.encode(MIXED, role="query"), model.encode_query(MIXED)),
        (embedder.encode(MIXED, role="document"), model.encode_document(MIXED)),
    ):
        assert distance(theirs, mine) < limit


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", [None, {"r": 4}, {"r": 4, "method": "dora"}])
def test_sentence_transformers_gives_our_vectors(build, tmp_path, family, adapter):
    embedder = build(family, adapter=adapter)
    if adapter:
        train(embedder)
        with embedder.reference():
            assert distance(embedder.encode(MIXED), build(family).encode(MIXED)) == 0
        assert distance(embedder.encode(MIXED), build(family).encode(MIXED)) > 0.01
    exported(embedder, tmp_path / "st")
    agrees(embedder, st(tmp_path / "st"))


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3"])
def test_padding_on_either_side(build, tmp_path, family):
    embedder = build(family, template=POOLED, prompts={"query": "search"})
    embedder.template.tokenizer.padding_side = "left"
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    assert model.tokenizer.padding_side == "right"
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        agrees(embedder, model)


def test_an_encoder_with_absolute_positions_is_written_for_padding_on_the_right(build, tmp_path):
    embedder = build("bert")
    embedder.template.tokenizer.padding_side = "left"
    exported(embedder, tmp_path / "st")
    agrees(embedder, st(tmp_path / "st"))


@pytest.mark.parametrize("pooler", ["mean", "cls", "last", "max", "mean-sqrt-len", "weighted-mean"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("template", [POOLED, INSTRUCTED], ids=["pooled", "instructed"])
def test_pooling_with_and_without_the_prompt(build, tmp_path, pooler, normalize, template):
    use = {"use": "weighted-mean", "positions": "absolute"} if pooler == "weighted-mean" else pooler
    prompts = {"query": "search for it", "document": "a text"} if template is POOLED else {"query": "search for it"}
    embedder = build(pooler=use, normalize=normalize, template=template, prompts=prompts)
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    agrees(embedder, model)
    included = json.loads((tmp_path / "st" / "1_Pooling" / "config.json").read_text())["include_prompt"]
    assert included is (template is POOLED or pooler == "last")


def test_ranks_among_pooled_tokens_are_not_positions(build, tmp_path):
    agreeing = build(pooler="weighted-mean", template=POOLED, prompts={"query": "search"})
    exported(agreeing, tmp_path / "st")
    agrees(agreeing, st(tmp_path / "st"))
    embedder = build(pooler="weighted-mean", template=INSTRUCTED, prompts={"query": "search"})
    with pytest.raises(ExportError, match="the pooler counts pooled tokens from 1, readers count the prompt's too"):
        exported(embedder, tmp_path / "no")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("heads", [[], [{"use": "dense", "out_features": 48, "activation": "tanh"}, "mlp"]])
def test_fewer_dimensions_and_heads(build, tmp_path, normalize, heads):
    embedder = build(dimensions=24, normalize=normalize, heads=heads)
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    assert model.get_embedding_dimension() == 24
    agrees(embedder, model)


def test_a_head_for_training_alone_is_left_out(build, tmp_path):
    embedder = build(heads=[{"use": "mlp", "use_in": "training"}])
    exported(embedder, tmp_path / "st")
    agrees(embedder, st(tmp_path / "st"))
    assert not list((tmp_path / "st").glob("*_Dense"))


def test_the_encoders_own_pooling_layer_becomes_a_dense_layer(build, tmp_path):
    embedder = build("bert", backbone={"pooling_layer": True}, pooler="cls", heads=["pooler-mlp"])
    exported(embedder, tmp_path / "st")
    agrees(embedder, st(tmp_path / "st"))


def test_causal_attention_stays_causal(build, tmp_path):
    embedder = build(attention="causal", pooler="last")
    exported(embedder, tmp_path / "st")
    agrees(embedder, st(tmp_path / "st"))
    config = json.loads((tmp_path / "st" / "config.json").read_text())
    assert not {"is_causal", "use_bidirectional_attention"} & config.keys()
    assert "requirements" not in json.loads((tmp_path / "st" / "config_sentence_transformers.json").read_text())


def test_prompts_of_tasks_under_the_names_that_mteb_looks_up(build, tmp_path):
    """One table serves training, encoding, mteb and export."""
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    prompts = {"query": "find it", "NFCorpus": "find medicine", "SciFact-query": "find proof"}
    embedder = build(template=POOLED, prompts=prompts)
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    assert model.prompts["query"] == "find it: "
    assert model.prompts["SciFact-query"] == "find proof: "
    for task, role in (("NFCorpus", "query"), ("NFCorpus", "document"), ("SciFact", "query"), ("Other", "query")):
        name = next(n for n in (f"{task}-{role}", task, role) if n in model.prompts)
        texts = [text for text in MIXED if len(embedder.template.embed([text], role)[0]) < 40]
        assert len(texts) > 2
        mine = embedder.encode(texts, role=role, tasks=[task])
        assert distance(model.encode(texts, prompt_name=name), mine) < 1e-5
    assert SentenceTransformerEncoderWrapper(model).model_prompts.keys() >= {"query"}


def test_one_table_of_prompts_serves_training_encoding_mteb_and_export(build, tmp_path, examples):
    """The same instruction, as the same token ids, in all four."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    from ullme import Vector, make_batch
    from ullme.train.plan import vector_jobs
    from ullme_plugins.evaluators._encoder import Encoder

    embedder = build(template=POOLED, prompts={"query": "find it", "document": "a text"})
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    jobs = vector_jobs(embedder, make_batch(examples[:1]), [Vector("query"), Vector("document")], None, 10_000)
    trained = {text.ids for job in jobs for text in job.call.texts}
    of_mteb = Encoder(
        embedder,
        "model",
        "1",
        instructions={},
        max_tokens=None,
        batch_tokens=4096,
        show=lambda *_: nullcontext(lambda _: None),
    )
    about = SimpleNamespace(name="SciFact", type="Retrieval")
    for role, text in (("query", examples[0].query), ("document", examples[0].positives[0])):
        ids = tuple(model.tokenizer([model.prompts[role] + text])["input_ids"][0])
        assert ids in trained
        assert ids == embedder.template.embed([text], role, embedder.prompt(role))[0].ids
        mine = embedder.encode([text], role=role)
        kind = SimpleNamespace(value=role)
        scored = of_mteb.encode([{"text": [text]}], task_metadata=about, hf_split="", hf_subset="", prompt_type=kind)
        assert np.array_equal(scored, mine)
        assert distance(model.encode([text], prompt_name=role), mine) < 1e-5
    assert of_mteb.prompts == embedder.config.prompts


def test_the_layout_is_the_one_that_most_programs_read(build, tmp_path):
    embedder = train(build(adapter={"r": 4}, similarity="dot", prompts={"query": "find it"}, template=POOLED))
    exported(embedder, tmp_path / "st")
    read = {path.name: json.loads(path.read_text()) for path in (tmp_path / "st").glob("*.json")}
    assert [module["type"] for module in read["modules.json"]] == [
        f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")
    ]
    assert read["config.json"]["architectures"] == ["LlamaModel"]
    assert read["config.json"]["is_causal"] is False
    assert read["config.json"]["use_bidirectional_attention"] is True
    assert read["config_sentence_transformers.json"]["requirements"] == {
        "transformers": ">=5.2",
        "sentence-transformers": ">=6",
    }
    assert read["config_sentence_transformers.json"]["similarity_fn_name"] == "dot"
    assert read["sentence_bert_config.json"]["max_seq_length"] == 64 + 2  # a text, {bos}, {eos}
    assert read["sentence_bert_config.json"]["query_length"] > 64 + 2
    assert "document_length" not in read["sentence_bert_config.json"]
    pooling = json.loads((tmp_path / "st" / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode"] == "mean"
    assert pooling["pooling_mode_mean_tokens"] is True
    assert sum(value is True for key, value in pooling.items() if key.startswith("pooling_mode_")) == 1
    assert pooling["word_embedding_dimension"] == 64
    assert (tmp_path / "st" / "adapter" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "st").glob("*.py"))
    assert not list((tmp_path / "st").glob("chat_template*"))


def test_no_reader_warns_and_no_weight_is_missing(build, tmp_path, caplog, recwarn):
    for family in ("llama", "bert"):
        exported(build(family), tmp_path / family)
        caplog.clear()
        recwarn.clear()
        with caplog.at_level("WARNING"):
            st(tmp_path / family)
        assert [record.message for record in caplog.records] == []
        assert [str(warning.message) for warning in recwarn] == []


def test_a_window_is_written_so_that_it_is_the_same_window_when_read(build, tmp_path):
    """Gemma 3's own switch halves what it reads; transformers' general one reaches a token further than causal does."""
    from transformers import AutoModel

    embedder = build("gemma3")
    window = embedder.loaded.body.config.sliding_window
    assert window == 4
    exported(embedder, tmp_path / "st")
    config = json.loads((tmp_path / "st" / "config.json").read_text())
    assert config["use_bidirectional_attention"] is True
    assert "is_causal" not in config
    assert AutoModel.from_pretrained(tmp_path / "st").config.sliding_window == window
    assert embedder.loaded.body.config.sliding_window == window
    agrees(embedder, st(tmp_path / "st"))


def test_any_tokenizer_ends_up_with_the_templates_tokens(build, tmp_path):
    """The tokenizer of the base adds <s> and nothing else; the template wants an end token and no start."""
    embedder = build(
        options={"template": "<s> $A"}, template={"embed": {"default": ["{text}", "{eos}"]}}, pooler="last"
    )
    exported(embedder, tmp_path / "st")
    model = st(tmp_path / "st")
    ids = model.tokenizer(["a b"])["input_ids"][0]
    assert ids[-1] == model.tokenizer.eos_token_id
    assert ids[0] != model.tokenizer.bos_token_id
    assert tuple(ids) == embedder.template.embed(["a b"], "default")[0].ids
    agrees(embedder, model)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (
            {"pooler": {"use": "latent-attention", "latents": 4, "heads": 2, "head_size": 8}},
            "pooler 'latent-attention': other readers know",
        ),
        ({"pooler": {"use": "mean-layers", "n": 2}}, "pooler 'mean-layers': other readers know"),
        ({"attention": {"use": "bidirectional-window", "window": 3}}, "attention 'bidirectional-window'"),
        ({"attention": "prefix"}, "attention 'prefix'"),
        (
            {"prompts": {"query": "x"}, "template": {"embed": {"default": ["{text} again {text}"]}}},
            "holds the text 2 times",
        ),
        ({"template": {"embed": {"default": ["{text}"], "query": ["{text}", "{eos}"]}}}, "what follows a text depends"),
        ({"template": {"embed": {"default": [{"text": "{text}", "truncate": "left"}]}}}, "cuts long texts on the left"),
        (
            {
                "prompts": {"query": "x"},
                "template": {"embed": {"default": ["{bos}", {"text": "{instruction}\n", "pool": False}, "{text}"]}},
            },
            "the template pools tokens 0 to 0",
        ),
        (
            {"adapter": {"r": 2, "tasks": ["one", "two"], "route": {"query": "one", "document": "two"}}},
            "the roles use different adapters",
        ),
    ],
)
@pytest.mark.parametrize("form", ["sentence-transformers", "hf"])
def test_what_the_format_cannot_express_is_refused_with_the_reason(build, tmp_path, section, reason, form):
    with pytest.raises(ExportError, match=reason):
        exported(build(**section), tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_text_that_merges_with_the_prompt_elsewhere_is_refused(build, tmp_path, monkeypatch):
    plain = build().template.tokenizer
    word = next(t for t in plain.get_vocab() if t.isascii() and t.isalpha() and len(plain(t)["input_ids"]) < len(t) - 1)
    monkeypatch.setattr("ullme.model.reference.TEXTS", (word[1:], "Query", "a dog", "x"))
    embedder = build(template={"embed": {"default": [{"text": word[0], "tokenize": "alone"}, "{text}"]}})
    with pytest.raises(ExportError, match=f"plain text does not give the template's tokens: default: '{word[1:]}'"):
        exported(embedder, tmp_path / "out")


def test_heads_have_no_place_in_a_plain_folder(build, tmp_path):
    with pytest.raises(ExportError, match="no place for what comes after pooling"):
        exported(build(dimensions=8), tmp_path / "out", "hf")


def test_a_family_that_transformers_runs_causally_is_refused(build, tmp_path, monkeypatch):
    """stablelm and nemotron under sdpa: `is_causal=False` is heard with padding only, and nothing is raised."""
    from ullme.plugins.registry import Registry

    if "stablelm" not in Registry().names("backbone"):
        pytest.skip("the family has no backbone here")
    import tiny
    from transformers import AutoModelForCausalLM, StableLmConfig

    words = tiny.tokenizer()
    config = StableLmConfig(**tiny.SIZES, vocab_size=len(words), max_position_embeddings=128, num_key_value_heads=4)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    embedder = build(backbone={"use": "stablelm", "path": str(tmp_path / "base")})
    with pytest.raises(
        ExportError, match=r"is_causal=False of transformers gives other vectors.*with sdpa attention, silently"
    ):
        exported(embedder, tmp_path / "out")
    eager = build(backbone={"use": "stablelm", "path": str(tmp_path / "base"), "attn_implementation": "eager"})
    exported(eager, tmp_path / "out")
    agrees(eager, st(tmp_path / "out"))


@pytest.mark.parametrize(
    ("family", "reason"),
    [("bloom", r"linear biases \(ALiBi\) are made symmetric here"), ("gpt_neo", "holds a causal mask of its own")],
)
def test_a_family_whose_layers_are_changed_here_is_refused(build, tmp_path, family, reason):
    import tiny

    from ullme_plugins.backbones._tiny import save_tiny

    words = tiny.tokenizer()
    save_tiny(tmp_path / "base", family, tokenizer=words, vocab_size=len(words))
    use = family.replace("_", "-")
    embedder = build(backbone={"use": use, "path": str(tmp_path / "base")})
    with pytest.raises(ExportError, match=reason):
        exported(embedder, tmp_path / "out")
    causal = build(backbone={"use": use, "path": str(tmp_path / "base")}, attention="causal", pooler="last")
    exported(causal, tmp_path / "out")
    agrees(causal, st(tmp_path / "out"))


@pytest.mark.parametrize("family", ["gemma", "gemma2", "mistral", "t5"])
def test_families_with_a_switch_or_a_window_of_their_own(build, tmp_path, family):
    import tiny

    from ullme_plugins.backbones._tiny import save_tiny

    words = tiny.tokenizer()
    save_tiny(tmp_path / "base", family, tokenizer=words, vocab_size=len(words))
    use = {"t5": "t5-encoder"}.get(family, family)
    embedder = build(backbone={"use": use, "path": str(tmp_path / "base")})
    exported(embedder, tmp_path / "out")
    agrees(embedder, st(tmp_path / "out"))


def test_what_a_reader_would_serve_wrongly_is_said_by_name(build, tmp_path):
    said = exported(build("gpt_neox", pooler="max"), tmp_path / "neox")
    assert any("vLLM" in line and "gpt_neox" in line and "causal" in line for line in said)
    assert any("text-embeddings-inference" in line and "gpt_neox" in line for line in said)
    assert any("cls, last and mean pooling only, not max" in line for line in said)
    card = (tmp_path / "neox" / "README.md").read_text()
    assert all(line.removeprefix("warning: ") in card for line in said)
    llama = exported(build("llama"), tmp_path / "llama")
    assert not any("gpt_neox" in line or "runs the family" in line for line in llama)
    assert exported(build("bert"), tmp_path / "bert") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_folder_is_read_by_transformers_alone(build, tmp_path, family):
    from transformers import AutoModel, AutoTokenizer

    embedder = train(build(family, adapter={"r": 4}))
    exported(embedder, tmp_path / "hf", "hf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = AutoModel.from_pretrained(tmp_path / "hf").eval()
    for texts in ([MIXED[2]], MIXED):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"]
        with torch.no_grad():
            states = model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        vectors = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        assert distance(vectors, embedder.encode(texts, role="default")) < 1e-5


def test_the_cards_code_runs_and_gives_our_vectors(build, tmp_path, capsys):
    embedder = build(prompts={"query": "find it"}, template=INSTRUCTED)
    texts = ["what do sloths eat", "how long do they sleep"]
    wanted = embedder.encode(texts, role="query")
    for form in ("hf", "sentence-transformers", "ullme"):
        exported(embedder, tmp_path / form, form)
        code = (tmp_path / form / "README.md").read_text().split("```python\n")[1].split("```")[0]
        found: dict = {}
        exec(code.replace('"PATH"', repr(str(tmp_path / form))), found)
        vectors = found["vectors"].numpy() if form == "hf" else found["queries"]
        assert distance(np.asarray(vectors), wanted[: len(vectors)]) < 1e-5


def test_a_plain_folder_keeps_the_language_model(build, tmp_path):
    from transformers import AutoModelForCausalLM

    embedder = train(build(adapter={"r": 4}))
    exported(embedder, tmp_path / "hf", "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    model.config.is_causal = True
    ids = torch.tensor([embedder.template.embed(["a question and its answer"], "default")[0].ids])
    plain = build()
    plain.loaded.model.load_state_dict(merged_weights(embedder))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, plain.loaded.model(ids).logits)


@pytest.mark.parametrize("form", ["sentence-transformers", "hf"])
def test_another_dtype(build, tmp_path, form):
    """bf16 rounds every weight and state to 8 bits: the direction of the middle text is what is asked for."""
    embedder = train(build(adapter={"r": 4}))
    exported(embedder, tmp_path / "half", form, dtype="bfloat16")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    reference = read_reference(tmp_path / "half")
    assert (reference.dtype, reference.tolerance.typical) == ("bfloat16", 0.999)
    if form == "sentence-transformers":
        theirs, mine = st(tmp_path / "half").encode(MIXED), embedder.encode(MIXED, role="default")
        cosines = (theirs * mine).sum(1) / np.linalg.norm(theirs, axis=1)
        assert 0.999 < cosines.min() < 0.999999


def test_half_precision_with_dense_layers(build, tmp_path):
    embedder = build(options={"dtype": torch.bfloat16}, backbone={"dtype": "bfloat16"}, dimensions=16)
    exported(embedder, tmp_path / "half")
    theirs, mine = st(tmp_path / "half").encode(MIXED).astype("float32"), embedder.encode(MIXED, role="default")
    assert theirs.shape[1] == 16
    assert ((theirs * mine).sum(1) / np.linalg.norm(theirs, axis=1)).min() > 0.999


class TestReadBack:
    """After every save the copy is loaded and compared; a wrong one does not appear."""

    @pytest.mark.parametrize("form", ["sentence-transformers", "hf"])
    def test_an_adapter_that_was_lost_is_called_that(self, build, tmp_path, monkeypatch, form):
        from ullme_plugins.exporters import _folder

        base = build().loaded.model.state_dict()
        monkeypatch.setattr(_folder, "merged_weights", lambda *args, **kwargs: base)
        with pytest.raises(ExportError, match="its vectors are those of the base model: the adapter was lost"):
            exported(train(build(adapter={"r": 4})), tmp_path / "out", form)
        assert not (tmp_path / "out").exists()

    def test_saving_a_model_directory_is_checked_too(self, build, tmp_path, monkeypatch):
        from ullme.model import storage

        embedder = train(build(adapter={"r": 4}))
        embedder.save(tmp_path / "good")
        assert read_reference(tmp_path / "good").roles.keys() == {"default", "query", "document"}
        load = storage.load

        def forgetful(path, device=None):
            found = load(path, device)
            for name, parameter in found.adapter.named_parameters():
                if "lora_B" in name:
                    parameter.data.zero_()
            return found

        monkeypatch.setattr(storage, "load", forgetful)
        with pytest.raises(ExportError, match="the adapter was lost"):
            embedder.save(tmp_path / "bad")
        assert not (tmp_path / "bad").exists()

    def test_missing_adapter_keys_are_an_error(self, build, tmp_path):
        from safetensors.torch import load_file, save_file

        from ullme import AssetError, Embedder

        train(build(adapter={"r": 4})).save(tmp_path / "model")
        file = tmp_path / "model" / "adapter" / "adapter_model.safetensors"
        weights = load_file(file)
        del weights[next(key for key in weights if "lora_B" in key)]
        save_file(weights, file)
        with pytest.raises(AssetError, match="1 weights do not fit the model"):
            Embedder.from_directory(tmp_path / "model")

    def test_an_untrained_adapter_is_said_and_no_error(self, build, tmp_path):
        said = exported(build(adapter={"r": 4}), tmp_path / "out")
        assert "the adapter is untrained: its vectors are those of the base model" in said
        assert not any("untrained" in line for line in exported(train(build(adapter={"r": 4})), tmp_path / "two"))

    def test_a_trained_adapter_that_changes_no_vector_is_an_error(self, build, tmp_path):
        embedder = build("gpt_neox", adapter={"r": 4, "targets": ["lm_head"]})
        train(embedder)
        with pytest.raises(ExportError, match="every vector is that of the base model"):
            exported(embedder, tmp_path / "out", "ullme")

    def test_a_folder_of_something_else_is_not_replaced(self, build, tmp_path):
        from ullme import UllmeError

        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(UllmeError, match="a folder of something else is there"):
            build().save(tmp_path)
        assert (tmp_path / "notes.txt").read_text() == "mine"
