"""What single families need to look ahead: linear biases, masks inside layers, sparse attention, recurrent layers."""

import pytest
import torch
import transformers

from ullme import AttentionError, Layout, Registry, build_embedder
from ullme.config.load import load_model
from ullme.model.states import hidden_states
from ullme_plugins.backbones import _tiny

ALIBI = [("bloom", "bloom", "eager", {}), ("mpt", "mpt", "eager", {}), ("falcon", "falcon", "sdpa", {"alibi": True})]


def load(tmp_path, name, model_type, implementation="eager", more=None, **settings):
    path = _tiny.save_tiny(tmp_path / "model", model_type, **settings)
    cls = Registry().load("backbone", name)
    loaded = cls(cls.Config(path=str(path), attn_implementation=implementation, **(more or {}))).load()
    loaded.model.eval()
    return loaded


def ahead(loaded):
    mode = Registry().load("attention", "bidirectional")()
    mode.install(loaded)
    return mode


def embedder(path, name="auto", **model):
    return build_embedder(load_model({"backbone": {"use": name, "path": str(path)}, "max_tokens": 64, **model}))


@pytest.mark.parametrize(("name", "model_type", "implementation", "settings"), ALIBI)
def test_linear_biases_are_symmetric_when_looking_ahead(tmp_path, name, model_type, implementation, settings):
    """With equal tokens everywhere only position tells states apart: symmetric biases make the text a palindrome."""
    loaded = load(tmp_path, name, model_type, implementation, **settings)
    ids = torch.full((1, 8), 9)
    with torch.no_grad(), ahead(loaded).active():
        states = hidden_states(loaded, ids, torch.ones_like(ids))[0]
    torch.testing.assert_close(states, states.flip(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "model_type", "implementation", "settings"), ALIBI)
def test_linear_biases_are_minus_slope_times_distance(
    tmp_path, monkeypatch, name, model_type, implementation, settings
):
    """The first block is run by hand, with the bias that the paper would have in both directions."""
    loaded = load(tmp_path, name, model_type, implementation, **settings)
    mode, seen = ahead(loaded), {}
    loaded.blocks[0].register_forward_pre_hook(lambda m, a, kw: seen.update(kw), with_kwargs=True)
    ids = torch.arange(5, 11)[None].repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    with torch.no_grad(), mode.active():
        hidden_states(loaded, ids, mask)
    slopes = torch.tensor([2.0 ** (-8 * (head + 1) / 4) for head in range(4)])
    place = torch.arange(6)
    expected = -slopes[:, None, None] * (place[:, None] - place).abs()
    if name == "mpt":
        found = seen["position_bias"]
    else:
        found = (seen["alibi"] if name == "bloom" else seen["attention_mask"] * 4).view(2, 4, 6, 6)
        assert torch.allclose(found[1, :, 2:, 2:], expected[:, 2:, 2:], atol=1e-3)  # padding does not count
        found = found[0]
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("name", "model_type", "implementation", "settings"), ALIBI)
def test_linear_biases_of_a_prompt_read_both_ways_go_on_with_a_cache(
    tmp_path, name, model_type, implementation, settings
):
    loaded = load(tmp_path, name, model_type, implementation, **settings)
    mode = Registry().load("attention", "prefix")()
    mode.install(loaded)
    ids = torch.randint(5, 100, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    logits = []
    for use_cache in (True, False):
        options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "use_cache": use_cache}
        with torch.no_grad(), mode.active(Layout(free=mask.bool())):
            made = loaded.model.generate(
                input_ids=ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **options
            )
        logits.append(torch.stack(made.logits))
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_linear_biases_are_refused_where_no_patch_reaches_them(tmp_path):
    loaded = load(tmp_path, "falcon", "falcon", "eager", alibi=True)
    with pytest.raises(AttentionError, match="symmetric under SDPA alone"):
        ahead(loaded)


def test_a_long_text_costs_mpt_no_bias_for_the_longest_one(tmp_path):
    loaded = load(tmp_path, "mpt", "mpt", max_seq_len=2048)
    mode, sizes = ahead(loaded), []
    loaded.blocks[0].register_forward_pre_hook(
        lambda m, a, kw: sizes.append(kw["position_bias"].shape), with_kwargs=True
    )
    ids = torch.arange(5, 12)[None]
    with torch.no_grad(), mode.active():
        hidden_states(loaded, ids, torch.ones_like(ids))
    assert sizes == [(4, 7, 7)]


def test_gpt_neo_is_bit_equal_to_stock_and_keeps_its_window(tmp_path):
    loaded = load(tmp_path, "gpt-neo", "gpt_neo")
    stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(5, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.no_grad():
        mine, theirs = (model(input_ids=ids, attention_mask=mask).logits for model in (loaded.model, stock))
    assert torch.equal(mine[mask.bool()], theirs[mask.bool()])
    local = loaded.blocks[1].attn.attention
    assert local.attention_type == "local"
    assert local.bias[0, 0, 6].nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]


class TestSparseAttention:
    """A model that chooses its keys is bidirectional only while it need not choose."""

    @pytest.fixture
    def path(self, tmp_path):
        return _tiny.save_tiny(tmp_path / "model", "glm_moe_dsa", index_topk=16)

    def test_its_length_is_known_and_kept(self, path):
        made = embedder(path, max_tokens=16)
        assert made.loaded.symmetric_length == 16
        with pytest.raises(AttentionError, match="texts of up to 16 tokens"):
            embedder(path, max_tokens=17)

    @pytest.mark.parametrize(("length", "whole"), [(16, True), (40, False)])
    def test_beyond_it_some_tokens_are_left_out(self, path, length, whole):
        loaded = embedder(path, max_tokens=16).loaded
        block = loaded.blocks[0].self_attn
        ids = torch.arange(length)[None] % 90 + 5
        seen = {}
        block.indexer.register_forward_hook(lambda m, a, out: seen.update(chosen=out))
        with torch.no_grad(), ahead(loaded).active():
            hidden_states(loaded, ids, torch.ones_like(ids))
        chosen = seen["chosen"][0]
        assert (chosen.shape[-1] == length) is whole
        assert all((len(set(row.tolist())) == length) is whole for row in chosen)

    def test_blocks_that_begin_later_are_never_chosen(self, tmp_path):
        """minimax_m3 scores the future -inf whatever the mask: a text must fit one block."""
        path = _tiny.save_tiny(tmp_path / "blocks", "minimax_m3_vl_text", index_block_size=12, index_topk_blocks=8)
        loaded = embedder(path, max_tokens=12).loaded
        assert loaded.symmetric_length == 12
        reach = {}
        for length in (12, 30):
            ids = torch.arange(length)[None] % 90 + 5
            other = ids.clone()
            other[0, -1] = 4
            with torch.no_grad(), ahead(loaded).active():
                states = [hidden_states(loaded, each, torch.ones_like(each))[0, 0] for each in (ids, other)]
            reach[length] = not torch.equal(*states)
        assert reach[12]


class TestRecurrent:
    def test_a_hybrid_is_refused_unless_partial_is_allowed(self, tmp_path):
        path = _tiny.save_tiny(tmp_path / "model", "jamba")
        with pytest.raises(AttentionError, match=r"JambaMambaMixer.*\n.*allow_partial: true"):
            embedder(path)
        given = {"backbone": {"use": "auto", "path": str(path), "allow_partial": True}, "max_tokens": 64}
        with pytest.warns(UserWarning, match=r"layers 0 stay causal \(JambaMambaMixer"):
            made = build_embedder(load_model(given))
        assert made.encode(["some text", "another one"]).shape == (2, 64)

    @pytest.mark.parametrize("model_type", ["mamba", "rwkv"])
    def test_a_pure_one_is_refused_whatever_is_allowed(self, tmp_path, model_type):
        path = _tiny.save_tiny(tmp_path / "model", model_type)
        with pytest.raises(AttentionError, match="it is recurrent"):
            build_embedder(load_model({"backbone": {"use": "auto", "path": str(path), "allow_partial": True}}))

    @pytest.mark.parametrize("model_type", ["mamba", "rwkv", "xlstm", "deepseek_v4", "openai-gpt"])
    def test_what_is_refused_embeds_with_causal_attention_as_its_refusal_says(self, tmp_path, model_type):
        path = _tiny.save_tiny(tmp_path / "model", model_type)
        with pytest.raises(AttentionError, match="Use `attention: causal` with `pooler: last`"):
            embedder(path)
        made = embedder(path, attention="causal", pooler="last")
        texts = ["some text", "another one, which is longer"]
        alone = torch.cat([torch.tensor(made.encode([text])) for text in texts])
        torch.testing.assert_close(torch.tensor(made.encode(texts)), alone, atol=1e-5, rtol=0)


def test_embedding_gemma_is_an_encoder_that_looks_both_ways(tmp_path):
    path = _tiny.save_tiny(tmp_path / "model", "gemma3_text", use_bidirectional_attention=True)
    made = embedder(path, "gemma3")
    assert made.loaded.head is None
    stock = transformers.AutoModel.from_pretrained(path).eval()
    ids = torch.randint(5, 100, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), made.modes["embed"].active():
        mine = hidden_states(made.loaded, ids, torch.ones_like(ids))
    torch.testing.assert_close(mine, stock(input_ids=ids).last_hidden_state, atol=1e-5, rtol=1e-4)
    with pytest.raises(AttentionError, match="lets a token see the next one"):
        embedder(path, "gemma3", attention="causal")
