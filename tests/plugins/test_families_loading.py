"""From files to a backbone: who reads what, and what is refused with which words."""

import importlib.util
import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ullme import AssetError, ConfigError, Registry, build_embedder
from ullme.config.load import load_model
from ullme_plugins.backbones import _families, _tiny, auto


def load(path, name, **settings):
    cls = Registry().load("backbone", name)
    return cls(cls.Config(path=str(path), **settings)).load()


pytest_plugins = ["ullme.testing.fixtures"]


@pytest.fixture
def llama(tmp_path):
    return _tiny.save_tiny(tmp_path / "llama", "llama")


@pytest.fixture
def said(monkeypatch, caplog):
    """What `auto` says, from a clean slate."""
    monkeypatch.setattr(auto, "_SAID", set())
    return caplog


# ---- auto -----------------------------------------------------------------------------------------------------------


def test_auto_hands_a_known_family_to_its_backbone_and_says_so_once(llama, said):
    loaded = load(llama, "auto")
    load(llama, "auto")
    assert said.messages == ["auto: 'llama' models are read by `use: llama`"]
    assert type(loaded.model).__name__ == "LlamaForCausalLM"


def test_auto_reads_other_families_and_says_so(tmp_path, said):
    loaded = load(_tiny.save_tiny(tmp_path / "m", "helium"), "auto")
    assert "'helium' models are taken as transformers has them" in said.messages[0]
    assert loaded.head is not None


@pytest.mark.parametrize(
    ("model_type", "given"),
    [("nanochat", {}), ("hyperclovax", {}), ("minicpm3", {}), ("granitemoe_swa", {}), ("vaultgemma", {})],
)
def test_auto_finds_what_the_family_does_to_its_logits(tmp_path, model_type, given):
    loaded = load(_tiny.save_tiny(tmp_path / "m", model_type, **given), "auto")
    ids = torch.arange(5, 14)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    loaded.model.eval()
    with torch.no_grad():
        plain = loaded.head(loaded.body(**inputs).last_hidden_state)
        own = loaded.model(**inputs).logits
    assert not torch.allclose(plain, own, rtol=1e-3)
    torch.testing.assert_close(loaded.logits(plain), own)


def test_auto_gives_no_likelihoods_where_it_cannot_explain_the_logits(tmp_path, said, monkeypatch):
    from ullme_plugins.backbones import _logits

    monkeypatch.setattr(_logits, "candidates", lambda config: [None])
    made = build_embedder(
        load_model({"backbone": {"use": "auto", "path": str(_tiny.save_tiny(tmp_path / "m", "nanochat"))}})
    )
    assert any("NanoChatForCausalLM: head(body) is not what the model gives" in text for text in said.messages)
    assert made.encode(["a text"]).shape == (1, 64)
    with pytest.raises(ConfigError, match=r"likelihood|language-model head"):
        made.score([("a", "b")])


def test_auto_refuses_what_is_no_model_of_text(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(ConfigError, match=r"'resnet' models as neither language model nor text encoder"):
        load(tmp_path, "auto")


def test_auto_finds_the_backbone_of_another_distribution(tmp_path, fake_dist, said):
    source = (
        "from ullme import Backbone, LoadedBackbone\n"
        "class Mine(Backbone):\n"
        "    '''Reads helium in its own way.'''\n"
        "    model_types = ('helium',)\n"
        "    def load(self):\n"
        "        raise NotImplementedError(f'mine reads {self.config.path} in {self.config.dtype}')\n"
    )
    fake_dist("ullme-mine", {"ullme.backbones": {"mine": "mine_backbone:Mine"}}, {"mine_backbone": source})
    path = _tiny.save_tiny(tmp_path / "m", "helium")
    with pytest.raises(NotImplementedError, match=r"mine reads .*m in bfloat16"):
        load(path, "auto", dtype="bfloat16")
    assert said.messages == ["auto: 'helium' models are read by `use: mine`"]
    assert _families.backbone_for("helium") == "mine"


def test_two_other_distributions_for_one_family_must_be_chosen_between(tmp_path, fake_dist):
    source = (
        "from ullme import Backbone\n"
        "class Mine(Backbone):\n    '''Reads helium.'''\n    model_types = ('helium',)\n    def load(self): ...\n"
    )
    for name in ("one", "two"):
        module = f"backbone_{name}"
        fake_dist(f"ullme-{name}", {"ullme.backbones": {name: f"{module}:Mine"}}, {module: source})
    with pytest.raises(ConfigError, match=r"several backbones read 'helium' models: ullme-one:one, ullme-two:two"):
        load(_tiny.save_tiny(tmp_path / "m", "helium"), "auto")


def test_a_broken_plugin_disturbs_no_other(tmp_path, fake_dist, llama, caplog):
    fake_dist("ullme-broken", {"ullme.backbones": {"broken": "broken_backbone:No"}}, {"broken_backbone": "1 / 0\n"})
    assert load(llama, "auto").head is not None
    assert "ZeroDivisionError" in caplog.text


def test_no_two_of_our_backbones_read_the_same_type():
    registry = Registry()
    types = [t for name in registry.names("backbone") for t in registry.load("backbone", name).model_types]
    assert len(types) == len(set(types))


def test_every_model_type_is_one_of_transformers():
    registry = Registry()
    types = {t for name in registry.names("backbone") for t in registry.load("backbone", name).model_types}
    assert types - set(transformers.CONFIG_MAPPING) == {"nvembed"}


# ---- families -------------------------------------------------------------------------------------------------------


def test_another_family_is_refused_and_its_backbone_named(llama):
    with pytest.raises(ConfigError, match=r"'llama' model; this backbone reads gemma2.\n.*`use: llama`"):
        load(llama, "gemma2")


def test_nv_embed_is_the_mistral_in_its_checkpoint(tmp_path):
    loaded = load(_tiny.save_tiny(tmp_path / "nv", "nvembed"), "nv-embed")
    bare = _tiny.tiny_model(_tiny.tiny_config("mistral"), kind="MistralModel")
    assert all(torch.equal(tensor, bare.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())
    assert (type(loaded.model).__name__, loaded.head) == ("MistralModel", None)


SAVED = [
    ("nv-embed", "nvembed", {}),
    ("gte", "gte", {}),
    ("jina-v3", "jina_embeddings_v3", {}),
    ("t5-encoder", "t5", {}),
    ("gpt-neo", "gpt_neo", {}),
    ("modernbert-decoder", "modernbert-decoder", {}),
    ("qwen3-moe", "qwen3_moe", {}),
    ("gemma3", "gemma3_text", {"use_bidirectional_attention": True}),
    ("auto", "gemma3n_text", {}),
]


@pytest.mark.parametrize(("name", "model_type", "settings"), SAVED, ids=[model_type for _, model_type, _ in SAVED])
def test_what_ullme_saves_it_reads_again(tmp_path, name, model_type, settings):
    """Some layouts are renamed at load, and transformers renames them back when it saves."""
    path = _tiny.save_tiny(tmp_path / "model", model_type, **settings)
    made = build_embedder(load_model({"backbone": {"use": name, "path": str(path)}, "max_tokens": 64}))
    made.save(tmp_path / "saved")
    again = type(made).from_directory(tmp_path / "saved")
    assert torch.equal(torch.tensor(again.encode(["a text"])), torch.tensor(made.encode(["a text"])))


def test_a_saved_nv_embed_is_a_plain_mistral(tmp_path):
    path = _tiny.save_tiny(tmp_path / "nv", "nvembed")
    load(path, "nv-embed").model.save_pretrained(tmp_path / "saved")
    assert "layers.0.mlp.up_proj.weight" in load_file(tmp_path / "saved" / "model.safetensors")


@pytest.mark.parametrize("model_type", ["t5", "mt5"])
def test_a_whole_t5_gives_its_encoder(tmp_path, model_type):
    whole = _tiny.tiny_model(_tiny.tiny_config(model_type), kind="AutoModelForSeq2SeqLM")
    whole.save_pretrained(tmp_path)
    _tiny.tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load(tmp_path, "mt5-encoder" if model_type == "mt5" else "t5-encoder")
    loaded.model.eval()
    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        mine = loaded.body(input_ids=ids).last_hidden_state
        torch.testing.assert_close(mine, whole.get_encoder()(input_ids=ids).last_hidden_state)


def test_opt_that_projects_its_states_has_their_width(tmp_path):
    path = _tiny.save_tiny(tmp_path / "opt", "opt", word_embed_proj_dim=32, do_layer_norm_before=True)
    made = build_embedder(load_model({"backbone": {"use": "opt", "path": str(path)}, "max_tokens": 64}))
    assert made.loaded.hidden_size == 32
    assert made.encode(["a text"]).shape == (1, 32)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_a_body_gives_vectors_alone(tmp_path):
    """As E5-Mistral is published: a head made up at load would be random."""
    _tiny.tiny_model(_tiny.tiny_config("mistral"), kind="AutoModel").save_pretrained(tmp_path)
    _tiny.tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load(tmp_path, "mistral")
    assert loaded.head is None
    assert type(loaded.model).__name__ == "MistralModel"


def test_missing_weights_are_no_random_numbers(llama):
    weights = load_file(llama / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    with pytest.raises(AssetError, match=r"lacks 1 weights of the model \(such as model.layers.1.mlp.up_proj.weight\)"):
        load(llama, "llama")


def test_a_missing_shard_is_named(llama):
    _tiny.tiny_model(_tiny.tiny_config("llama")).save_pretrained(llama, max_shard_size="100KB")
    (llama / "model.safetensors").unlink(missing_ok=True)
    shards = sorted(llama.glob("model-0000*.safetensors"))
    shards[1].unlink()
    with pytest.raises(AssetError, match=rf"1 of {len(shards)} weight files are missing: {shards[1].name}"):
        load(llama, "llama")


def test_an_index_that_is_none_is_reported(llama):
    (llama / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(AssetError, match=r"expected an index of weights with a `weight_map`"):
        load(llama, "llama")


def test_weights_of_other_shapes_than_the_config_says_are_reported(llama):
    stated = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(stated | {"intermediate_size": 50}))
    with pytest.raises(AssetError, match=r"other shapes than its config.json says"):
        load(llama, "llama")


def test_a_config_without_a_model_type_is_reported(llama):
    stated = json.loads((llama / "config.json").read_text())
    del stated["model_type"]
    (llama / "config.json").write_text(json.dumps(stated))
    with pytest.raises(ConfigError, match=r"names no `model_type`"):
        load(llama, "auto")


def test_a_foreign_tokenizer_is_refused(llama):
    import tiny

    tiny.tokenizer().save_pretrained(llama)
    with pytest.raises(AssetError, match=r"the tokenizer is not this model's: it has \d+ tokens, the model embeds 128"):
        load(llama, "llama")


def test_added_special_tokens_beyond_the_table_are_no_foreign_tokenizer(llama):
    """Gemma 3's text models come with an image token that they have no embedding for."""
    words = _tiny.tiny_tokenizer()
    words.add_special_tokens({"additional_special_tokens": [f"<image-{i}>" for i in range(60)]})
    assert len(words) > 128
    words.save_pretrained(llama)
    assert load(llama, "llama").head is not None


@pytest.mark.parametrize(
    ("model_type", "name", "asked", "has"),
    [
        ("gemma2", "gemma2", "sdpa", "Gemma2ForCausalLM has no sdpa; it has eager, flex_attention, flash_attention_2"),
        ("bloom", "bloom", "flex_attention", "BloomForCausalLM has no flex_attention; it has eager"),
        ("mt5", "t5-encoder", "flash_attention_2", "has no flash_attention_2"),
        ("deepseek_v4", "auto", "sdpa", "DeepseekV4ForCausalLM has no sdpa; it has eager"),
    ],
)
def test_an_attention_that_the_family_lacks_is_refused(tmp_path, model_type, name, asked, has):
    path = _tiny.save_tiny(tmp_path / "m", model_type)
    with pytest.raises(ConfigError, match=has):
        load(path, name, attn_implementation=asked)


def test_an_attention_that_nobody_has_is_refused(llama):
    with pytest.raises(ConfigError, match=r"expected one of eager, .*flex_attention, sdpa; found 'flex'"):
        load(llama, "llama", attn_implementation="flex")


def test_a_family_alias_that_matches_two_is_refused(tmp_path, monkeypatch):
    rows = "".join(
        f'[[plugin]]\nkind = "backbone"\nname = "{name}"\ndist = "x"\nsummary = "."\naliases = ["same"]\n'
        for name in ("one", "two")
    )
    layer = tmp_path / "layer.toml"
    layer.write_text("index_version = 1\n" + rows)
    monkeypatch.setenv("ULLME_REGISTRY", str(layer))
    with pytest.raises(ConfigError, match="alias 'same' is already the name or alias of another backbone"):
        Registry()


# ---- quantisation ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantisation_says_what_to_install(llama, kind):
    with pytest.raises(ConfigError, match=f"{kind} needs bitsandbytes.\n  pip install bitsandbytes"):
        load(llama, "llama", quantization=kind)


def test_a_gguf_file_is_not_quantised_again(tmp_path):
    from ullme_plugins.backbones import _source

    cls = Registry().load("backbone", "llama")
    with pytest.raises(ConfigError, match="dequantised at load"):
        _source.options(cls.Config(path="x.gguf", quantization="nf4"), gguf=True)


def test_lora_on_experts_leaves_their_router_alone(tmp_path):
    path = _tiny.save_tiny(tmp_path / "m", "phimoe")
    section = {"backbone": {"use": "phimoe", "path": str(path)}, "adapter": {"r": 2}, "max_tokens": 64}
    made = build_embedder(load_model(section))
    adapted = {name for name, _ in made.adapter.named_parameters() if "lora_" in name}
    assert any("q_proj" in name for name in adapted)
    assert not any("router" in name for name in adapted)


def test_a_copied_model_directory_without_its_tokenizer_is_reported(llama, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(llama, bare, ignore=shutil.ignore_patterns("tokenizer*", "special_tokens*"))
    with pytest.raises(AssetError, match="bare"):
        load(bare, "llama")
