"""The `template:` section: texts as lists of spans."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from ullme.config.section import Section

TEXT_FIELDS = ("text", "prefix", "target")
"""What the data fills in, and what truncation may shorten."""

SPECIAL_TOKENS = ("bos", "eos", "cls", "sep", "mask", "unk")
"""The tokenizer's own special tokens."""

PLACEHOLDERS = (*TEXT_FIELDS, "instruction", *SPECIAL_TOKENS)
"""What `{...}` in a span may name."""

_ALL = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)


class Span(Section):
    """A piece of text with one rule for pooling and truncation. Short form: the text alone."""

    model_config = ConfigDict(json_schema_extra={"x-ullme-short": "text"})

    text: str = Field(min_length=1, description=f"literal text and placeholders: {_ALL}")
    pool: bool = Field(True, description="whether the vector is pooled over its tokens, or they are only attended to")
    target: bool = Field(False, description="whether the likelihood counts its tokens")
    truncate: Literal["right", "left", "never"] = Field("right", description="the side that is cut if it is too long")
    max_tokens: int | None = Field(None, gt=0, description="tokens kept; default: the model's max_tokens")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _known_placeholders(cls, text: str) -> str:
        for name in re.findall(r"\{(\w+)\}", text):
            if name not in PLACEHOLDERS:
                raise ValueError(f"{{{name}}} is no placeholder; there are {_ALL}")
        return text


class TemplateConfig(Section):
    """How texts become tokens, in training and in use alike."""

    embed: dict[str, list[Span]] = Field(description="spans per role (query, document); `default` serves the rest")
    likelihood: list[Span] | None = Field(
        None, description="spans of prefix and target; default: the tokenizer's own format"
    )

    @field_validator("embed")
    @classmethod
    def _pools_something(cls, embed: Mapping[str, list[Span]]) -> Mapping[str, list[Span]]:
        if "default" not in embed:
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
