"""Spans made ready for one tokenizer: special tokens as ids, the rest as text that is still to be filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullme.config.template import PLACEHOLDER, SPECIAL_TOKENS, TEXT_FIELDS, Span
from ullme.errors import ConfigError

_SPECIAL = re.compile(rf"\{{({'|'.join(SPECIAL_TOKENS)})\}}")


@dataclass(frozen=True)
class Piece:
    """Part of a span: one token that is always the same (`token`), or text with placeholders of the data.

    `needs` are the data of the whole span: it is left out where all of them are empty.
    """

    span: Span
    text: str = ""
    token: int | None = None
    needs: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether no token may cross its borders."""
        return self.token is not None or self.span.tokenize != "joined"

    @property
    def holds_text(self) -> bool:
        """Whether it holds what truncation may shorten."""
        return any(name in TEXT_FIELDS for name in PLACEHOLDER.findall(self.text))

    def limit(self, max_tokens: int) -> int | None:
        """Tokens kept of it where the model keeps `max_tokens` of a text; None: all."""
        if self.token is not None or not (self.holds_text or self.span.max_tokens):
            return None
        limits = [max_tokens] if self.holds_text else []
        return min([*limits, *([self.span.max_tokens] if self.span.max_tokens else [])])

    def filled(self, row: Mapping[str, str]) -> str:
        """Its text for one row of data."""
        return PLACEHOLDER.sub(lambda match: row.get(match[1], match[0]), self.text)


def pieces(spans: Sequence[Span], words: Mapping[str, str], tokenizer: Any, place: str) -> list[Piece]:
    """The pieces of a list of spans at `place` of the config. Raises ConfigError for a token that is not there."""
    return [
        piece
        for index, span in enumerate(spans)
        for piece in _cut_up(span, words, tokenizer, f"model.template.{place}.{index}")
    ]


def _cut_up(span: Span, words: Mapping[str, str], tokenizer: Any, place: str) -> list[Piece]:
    text = PLACEHOLDER.sub(lambda match: words.get(match[1], match[0]), span.text)
    if span.tokenize == "token":
        return [Piece(span, token=_vocabulary(text, tokenizer, place))]
    needs = tuple(name for name in PLACEHOLDER.findall(text) if name not in SPECIAL_TOKENS)
    made = []
    for position, part in enumerate(_SPECIAL.split(text)):
        if position % 2:  # what the expression found: the name of a special token
            made.append(Piece(span, token=_special(part, tokenizer, place), needs=needs))
        elif part:
            made.append(Piece(span, part, needs=needs))
    return made


def _special(name: str, tokenizer: Any, place: str) -> int:
    found = getattr(tokenizer, f"{name}_token_id", None)
    if found is None:
        there = {other: getattr(tokenizer, f"{other}_token", None) for other in SPECIAL_TOKENS}
        has = ", ".join(f"{{{other}}} = {token!r}" for other, token in there.items() if token) or "none"
        raise ConfigError(
            f"{place}: {{{name}}}: {type(tokenizer).__name__} has no such special token; it has {has}.\n"
            "  Write a token by its name, {text: NAME, tokenize: token}, or leave it out."
        )
    return int(found)


def _vocabulary(text: str, tokenizer: Any, place: str) -> int:
    found = tokenizer.convert_tokens_to_ids(text)
    if found is None or tokenizer.convert_ids_to_tokens(found) != text:
        parts = tokenizer.tokenize(text)
        raise ConfigError(
            f"{place}: {text!r} is no token of {type(tokenizer).__name__} (it would become {parts}): are the tokenizer "
            "and the weights those that the template was made for?"
        )
    return int(found)
