"""The `template:` section: texts as lists of spans."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, field_validator, model_validator

from ullme.config.section import Section

TEXT_FIELDS = ("text", "prefix", "target")
"""What the data fills in, and what truncation may shorten."""

SPECIAL_TOKENS = ("bos", "eos", "cls", "sep", "mask", "unk")
"""The tokenizer's own special tokens."""

PLACEHOLDERS = (*TEXT_FIELDS, "instruction", *SPECIAL_TOKENS)
"""What `{...}` in a span may name, beside the template's own words."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")

_ALL = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)

_words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
"""Further placeholders, while the spans of the template that declares them are validated."""


class Span(Section):
    """A piece of text with one rule for pooling, tokenising and truncation. Short form: the text alone.

    A placeholder of a special token (`{bos}`) becomes that token's id: it is never cut off, and the text before it is
    tokenised apart from the text after it, as if the tokenizer had added the token itself.
    """

    model_config = ConfigDict(json_schema_extra={"x-ullme-short": "text"})

    text: str = Field(min_length=1, description=f"literal text and placeholders: {_ALL}")
    pool: bool = Field(True, description="whether the vector is pooled over its tokens, or they are only attended to")
    target: bool = Field(False, description="whether the likelihood counts its tokens")
    tokenize: Literal["joined", "alone", "token"] = Field(
        "joined",
        description="joined: with its neighbours, a token may cross the border; alone: by itself, none does; "
        "token: the text is the name of one token of the vocabulary",
    )
    truncate: Literal["right", "left", "never"] = Field("right", description="the side that is cut if it is too long")
    max_tokens: int | None = Field(None, gt=0, description="tokens kept; default: the model's max_tokens, for texts")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _known_placeholders(cls, text: str) -> str:
        for name in PLACEHOLDER.findall(text):
            if name not in PLACEHOLDERS and name not in _words.get():
                known = " ".join([_ALL, *(f"{{{word}}}" for word in _words.get())])
                raise ValueError(f"{{{name}}} is no placeholder; there are {known}")
        return text

    @property
    def names(self) -> list[str]:
        """What its placeholders name."""
        return PLACEHOLDER.findall(self.text)


class TemplateConfig(Section):
    """How texts become tokens, in training and in use alike."""

    embed: dict[str, list[Span]] = Field(
        {},
        description="spans per role (query, document), `default` serves the rest; default: the tokenizer's own format",
    )
    likelihood: list[Span] | None = Field(
        None, description="spans of prefix and target; default: the tokenizer's own format"
    )
    words: dict[str, str] = Field(
        {}, description="further placeholders, and the text that each stands for (marks of turns in a chat ...)"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="tokens of the whole, the template's own included; the longest text gives way"
    )

    @field_validator("embed")
    @classmethod
    def _pools_something(cls, embed: Mapping[str, list[Span]]) -> Mapping[str, list[Span]]:
        if embed and "default" not in embed:
            raise ValueError("role `default` is missing: it serves every role that is not listed")
        for role, spans in embed.items():
            if not any(span.pool for span in spans):
                raise ValueError(f"no span of role `{role}` is pooled; one needs `pool: true`")
        return embed

    @field_validator("likelihood")
    @classmethod
    def _has_target(cls, spans: list[Span] | None) -> list[Span] | None:
        if spans is not None and not any(span.target for span in spans):
            raise ValueError('no span is the target; write one as {text: "{target}", target: true}')
        return spans

    @field_validator("words")
    @classmethod
    def _new_words(cls, words: Mapping[str, str]) -> Mapping[str, str]:
        for name in words:
            if name in PLACEHOLDERS or not re.fullmatch(r"\w+", name):
                raise ValueError(f"{name!r} cannot be a word of its own; taken are {_ALL}")
        return words

    @model_validator(mode="wrap")
    @classmethod
    def _with_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        words = value.get("words") if isinstance(value, Mapping) else None
        token = _words.set(tuple(words) if isinstance(words, Mapping) else ())
        try:
            return handler(value)
        finally:
            _words.reset(token)

    def roles(self) -> list[tuple[tuple[str, ...], list[Span]]]:
        """Every list of spans with its place in the section."""
        rest = [] if self.likelihood is None else [(("likelihood",), self.likelihood)]
        return [*((("embed", role), spans) for role, spans in self.embed.items()), *rest]
