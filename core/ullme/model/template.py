"""Text -> token ids through span templates: the one place where text is formatted, in training and in use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ullme.config.template import SPECIAL_TOKENS, TEXT_FIELDS, Span, TemplateConfig
from ullme.errors import ConfigError, DataError
from ullme.model.tokens import Tokens

_FIELD = re.compile(r"\{(\w+)\}")


class Template:
    """Formats a mapping of fields by a list of spans, tokenises it once, and knows which token came from which span.

    A token belongs to the span of its last character, so that the word after `Query:` counts as text although its
    token starts with the space before it. A span whose fields are all empty is left out.
    """

    def __init__(self, config: TemplateConfig, tokenizer: Any, max_tokens: int, max_length: int) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                f"{type(tokenizer).__name__} gives no character offsets: span templates need a fast tokenizer"
            )
        self.config = config
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.max_length = max_length
        self.seen = 0
        self.truncated = 0
        self._special = {name: getattr(tokenizer, f"{name}_token", None) or "" for name in SPECIAL_TOKENS}

    def embed(
        self, texts: Sequence[str], role: str, instruction: str | Sequence[str] = "", max_tokens: int | None = None
    ) -> list[Tokens]:
        """Tokens of `texts` in a role (`query`, `document`): the role's spans, or those of `default`.

        One instruction serves all texts, or each has its own.
        """
        spans = self.config.embed.get(role) or self.config.embed["default"]
        prompts = [instruction] * len(texts) if isinstance(instruction, str) else instruction
        rows = [{"text": text, "instruction": prompt} for text, prompt in zip(texts, prompts, strict=True)]
        return self._tokens(spans, rows, max_tokens)

    def likelihood(
        self, pairs: Sequence[tuple[str, str]], instruction: str | Sequence[str] = "", max_tokens: int | None = None
    ) -> list[Tokens]:
        """Tokens of (prefix, target) pairs; the target's tokens carry the likelihood."""
        if self.config.likelihood is None:
            raise ConfigError("model.template.likelihood is not given: this model cannot score a text given another")
        prompts = [instruction] * len(pairs) if isinstance(instruction, str) else instruction
        rows = [
            {"prefix": prefix, "target": target, "instruction": prompt}
            for (prefix, target), prompt in zip(pairs, prompts, strict=True)
        ]
        return self._tokens(self.config.likelihood, rows, max_tokens)

    def _tokens(self, spans: Sequence[Span], rows: list[dict[str, str]], max_tokens: int | None) -> list[Tokens]:
        if not rows:
            return []
        rendered = [self._render(spans, row) for row in rows]
        encoded = self.tokenizer(
            [text for text, _ in rendered], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        limit = max_tokens or self.max_tokens
        return [
            self._assemble(spans, ids, offsets, ends, limit)
            for ids, offsets, (_, ends) in zip(encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True)
        ]

    def _render(self, spans: Sequence[Span], row: Mapping[str, str]) -> tuple[str, list[int]]:
        """The whole string and, per span, the offset at which it ends."""
        text, ends = "", []
        for span in spans:
            names = [name for name in _FIELD.findall(span.text) if name not in self._special]
            if not names or any(row.get(name) for name in names):
                text += _FIELD.sub(lambda match: {**self._special, **row}.get(match[1], match[0]), span.text)
            ends.append(len(text))
        return text, ends

    def _assemble(
        self, spans: Sequence[Span], ids: list[int], offsets: list[tuple[int, int]], ends: list[int], limit: int
    ) -> Tokens:
        groups: list[list[int]] = [[] for _ in spans]
        at = 0
        for token, (_, stop) in zip(ids, offsets, strict=True):
            while at + 1 < len(spans) and stop > ends[at]:
                at += 1
            groups[at].append(token)
        cut = [self._cut(span, group, limit) for span, group in zip(spans, groups, strict=True)]
        over = sum(map(len, cut)) - self.max_length
        for position in sorted(range(len(spans)), key=lambda i: -len(cut[i])):
            if over > 0 and _holds_text(spans[position]):
                kept = max(1, len(cut[position]) - over)
                over -= len(cut[position]) - kept
                cut[position] = self._cut(spans[position], cut[position], kept)
        if over > 0:
            raise ConfigError(f"the template alone exceeds the model's {self.max_length} tokens")
        self.seen += 1
        self.truncated += cut != groups
        if not any(cut):
            raise DataError("a text gives no token at all: it is empty and the template adds nothing")
        return Tokens(
            tuple(token for group in cut for token in group),
            tuple(span.pool for span, group in zip(spans, cut, strict=True) for _ in group),
            tuple(span.target for span, group in zip(spans, cut, strict=True) for _ in group),
        )

    @staticmethod
    def _cut(span: Span, group: list[int], limit: int) -> list[int]:
        if not _holds_text(span):
            return group
        limit = min(limit, span.max_tokens or limit)
        if len(group) <= limit:
            return group
        if span.truncate == "never":
            raise DataError(f"a text of {len(group)} tokens exceeds {limit} and its span says `truncate: never`")
        return group[:limit] if span.truncate == "right" else group[-limit:]


def _holds_text(span: Span) -> bool:
    return any(name in TEXT_FIELDS for name in _FIELD.findall(span.text))


def default_template(tokenizer: Any, generates: bool) -> TemplateConfig:
    """Spans for a model whose YAML gives none: the tokenizer's own special tokens around the text.

    An instruction stands on a line before the text and is attended to but not pooled. A likelihood is that of the
    target after the prefix and a line break, without any end token.
    """
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    before, after = full[:start], full[start + len(bare) :]
    head = [Span(text=token) for token in tokenizer.convert_ids_to_tokens(before)]
    tail = [Span(text=token) for token in tokenizer.convert_ids_to_tokens(after)]
    instruction = Span(text="{instruction}\n", pool=False)
    embed = [*head, instruction, Span(text="{text}"), *tail]
    score = [*head, Span(text="{instruction}\n"), Span(text="{prefix}\n"), Span(text="{target}", target=True)]
    return TemplateConfig(embed={"default": embed}, likelihood=score if generates else None)
