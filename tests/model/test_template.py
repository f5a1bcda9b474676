"""Spans and tokens: what is joined, what stands alone, what is cut, and which token a text ends with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preset_tokenizers import KINDS

from ullme import ConfigError, DataError
from ullme.config.template import TemplateConfig
from ullme.model.template import Template, complete, default_template

TEXTS = ["why is the sky blue?", "x", " leading and trailing ", "two\n\nlines", "Rayleigh scattering " * 9]


@pytest.fixture(scope="module")
def tokenizers():
    made: dict[str, Any] = {}

    def get(kind: str) -> Any:
        if kind not in made:
            made[kind] = KINDS[kind]()
        return made[kind]

    return get


def template(
    tokenizer: Any, spans: list[Any], *, max_tokens: int = 512, longest: int = 4096, **section: Any
) -> Template:
    config = TemplateConfig.model_validate({"embed": {"default": spans}, **section})
    return Template(config, tokenizer, max_tokens, longest)


def spelled(made: Template, text: str, instruction: str = "", **options: Any) -> list[str]:
    (tokens,) = made.embed([text], "query", instruction, **options)
    return made.tokenizer.convert_ids_to_tokens(list(tokens.ids))


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_template_is_the_tokenizers_own_format(tokenizers, kind):
    tokenizer = tokenizers(kind)
    made = Template(default_template(tokenizer, generates=True), tokenizer, 512, 4096)
    for text, tokens in zip(TEXTS, made.embed(TEXTS, "document"), strict=True):
        assert list(tokens.ids) == tokenizer(text)["input_ids"]
        assert all(tokens.pool)


def test_a_stated_end_token_is_there_whatever_the_library_makes_of_it(tokenizers):
    tokenizer = KINDS["llama2"]()
    tokenizer.init_kwargs["add_eos_token"] = True
    made = Template(default_template(tokenizer, generates=False), tokenizer, 512, 4096)
    (tokens,) = made.embed(["why"], "query")
    assert list(tokens.ids) == [*tokenizer("why")["input_ids"], tokenizer.eos_token_id]
    assert made.ending("query") == tokenizer.eos_token_id


def test_special_tokens_are_ids_between_which_text_is_tokenised_apart(tokenizers):
    tokenizer = tokenizers("llama2")
    joined = template(tokenizer, ["{bos}query: {text}{eos}"])
    assert spelled(joined, "why") == ["<s>", "▁query:", "▁why", "</s>"]
    apart = template(tokenizer, ["query: {eos}{text}"])
    assert spelled(apart, "why") == ["▁query:", "▁", "</s>", "▁why"]


def test_a_span_alone_shares_no_token_with_its_neighbours(tokenizers):
    tokenizer = tokenizers("gpt2")
    assert spelled(template(tokenizer, ["{text}", "]"]), "blue?")[-1] == "?]"
    alone = ["{text}", {"text": "]", "tokenize": "alone"}]
    assert spelled(template(tokenizer, alone), "blue?")[-2:] == ["?", "]"]
    between = template(tokenizers("llama2"), ["the", {"text": " sky", "tokenize": "alone"}, " {text}"])
    assert spelled(between, "blue") == ["▁the", "▁", "▁sky", "▁", "▁blue"]


def test_a_span_that_is_one_token_is_looked_up(tokenizers):
    spans = [{"text": "[BOQ]", "tokenize": "token"}, "{text}", {"text": "[EOQ]", "tokenize": "token"}]
    made = template(tokenizers("bloom"), spans)
    assert spelled(made, "why") == ["[BOQ]", "why", "[EOQ]"]
    assert made.ending("query") == tokenizers("bloom").convert_tokens_to_ids("[EOQ]")
    with pytest.raises(ConfigError, match=r"model.template.embed.default.0: '\[BOQ\]' is no token of .* would become"):
        template(tokenizers("gpt2"), spans)


@pytest.mark.parametrize("section", ["embed", "likelihood"])
def test_a_special_token_that_is_not_there_is_an_error_that_names_those_that_are(tokenizers, section):
    spans: Any = [
        "{bos}",
        {"text": "{target}" if section == "likelihood" else "{text}", "target": section == "likelihood"},
    ]
    given = {"likelihood": spans} if section == "likelihood" else {}
    with pytest.raises(
        ConfigError, match=r"\{bos\}: .* has no such special token; it has \{eos\} = '<\|im_end\|>'"
    ) as e:
        template(tokenizers("qwen"), ["{text}"] if given else spans, **given)
    place = "model.template.likelihood.0" if given else "model.template.embed.default.0"
    assert str(e.value).startswith(place)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text("why blue?[]{}<s>\n", min_size=1, max_size=60).filter(str.strip),
    limit=st.integers(1, 12),
    whole=st.integers(6, 20),
    side=st.sampled_from(["left", "right"]),
    kind=st.sampled_from(["llama2", "llama3", "bert", "t5"]),
)
def test_the_last_token_is_the_one_that_the_template_states(tokenizers, text, limit, whole, side, kind):
    tokenizer = tokenizers(kind)
    end = "{sep}" if kind == "bert" else "{eos}"
    spans = [{"text": "Query: {text}" + end, "truncate": side}]
    made = template(tokenizer, spans, max_tokens=limit, longest=whole)
    (tokens,) = made.embed([text], "query")
    stated = tokenizer.sep_token_id if kind == "bert" else tokenizer.eos_token_id
    assert tokens.ids[-1] == made.ending("query") == stated
    assert tokens.pool[-1]
    assert len(tokens) <= min(limit + 1, whole)


def test_the_whole_has_a_limit_of_its_own(tokenizers):
    spans = ["{bos}", {"text": "{instruction} ", "pool": False}, "{text}", "{eos}"]
    text = "why is the sky blue why is the sky"
    whole = spelled(template(tokenizers("llama2"), spans), text, "find")
    short = TemplateConfig.model_validate({"embed": {"default": spans}, "max_tokens": 8})
    cut = Template(short, tokenizers("llama2"), 512, 4096)
    assert len(whole) > 8
    assert spelled(cut, text, "find") == [*whole[:7], "</s>"]
    assert (cut.seen, cut.truncated) == (1, 1)
    with pytest.raises(ConfigError, match="the template alone exceeds the 8 tokens"):
        cut.embed(["why"], "query", "a very long instruction that leaves no room")


def test_a_span_has_a_limit_of_its_own_text_or_not(tokenizers):
    spans = [{"text": "{instruction} ", "max_tokens": 2}, {"text": "{text}", "max_tokens": 3}, "{eos}"]
    text, instruction = "why is the sky blue", "retrieve passages that answer"
    made = template(tokenizers("t5"), spans)
    assert spelled(made, text, instruction) == ["▁retrieve", "▁passages", "▁why", "▁is", "▁the", "</s>"]
    assert spelled(made, text, instruction, max_tokens=1) == ["▁retrieve", "▁passages", "▁why", "</s>"]
    unlimited = template(tokenizers("t5"), ["{instruction} ", "{text}"], max_tokens=1)
    assert len(spelled(unlimited, text, instruction)) == 4 + 1


def test_words_stand_for_their_text(tokenizers):
    words = {"user": "[INST] ", "end": " [/INST]", "nothing": ""}
    spans = ["{bos}{user}", {"text": "{instruction}: ", "pool": False}, "{text}", "{end}", "{nothing}"]
    made = template(tokenizers("llama2"), spans, words=words)
    own = tokenizers("llama2")
    (tokens,) = made.embed(["why"], "query", "find")
    assert list(tokens.ids) == own("[INST] find: why [/INST]")["input_ids"]
    (tokens,) = made.embed(["why"], "query")
    assert list(tokens.ids) == own("[INST] why [/INST]")["input_ids"]


@pytest.mark.parametrize(("name", "value"), [("text", "x"), ("bos", "x"), ("a b", "x")])
def test_a_word_may_not_take_a_placeholders_name(name, value):
    with pytest.raises(ValueError, match="cannot be a word of its own"):
        TemplateConfig.model_validate({"words": {name: value}})


def test_words_alone_leave_the_tokenizers_own_format(tokenizers):
    config = TemplateConfig.model_validate({"words": {"user": "[INST]"}})
    filled = complete(config, tokenizers("llama2"), generates=True)
    own = default_template(tokenizers("llama2"), generates=True)
    assert (filled.embed, filled.likelihood, filled.words) == (own.embed, own.likelihood, {"user": "[INST]"})
    assert complete(filled, tokenizers("llama2"), generates=True) is filled


def test_a_text_too_long_for_a_span_that_says_never_is_refused(tokenizers):
    made = template(tokenizers("t5"), [{"text": "{text}", "truncate": "never"}], max_tokens=2)
    with pytest.raises(DataError, match="exceeds 2 and its span says `truncate: never`"):
        made.embed(["why is the sky"], "query")


def test_texts_that_are_equal_or_share_pieces_do_not_disturb_each_other(tokenizers):
    echo = [{"text": "{text}", "pool": False, "tokenize": "alone"}, {"text": "{text}", "tokenize": "alone"}, "{eos}"]
    made = template(tokenizers("llama2"), echo)
    texts = ["why", "blue sky", "why"]
    one_by_one = [made.embed([text], "query")[0] for text in texts]
    assert made.embed(texts, "query") == one_by_one
    assert one_by_one[0].pool == (False, True, True)
