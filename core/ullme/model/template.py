"""Text -> token ids through span templates: the one place where text is formatted, in training and in use."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ullme.config.template import Span, TemplateConfig
from ullme.errors import ConfigError, DataError
from ullme.model.pieces import Piece, pieces
from ullme.model.tokens import Tokens

_COUNTING = threading.Lock()  # of the module: a template is copied with its model, which a lock cannot be

_Run = tuple[str, list[tuple[int, int]]]
"""Text that is tokenised in one go, with the pieces in it and the offset at which each ends."""

_Encoded = Mapping[str, tuple[list[int], list[tuple[int, int]]]]
"""Token ids and character offsets of every run."""


class Template:
    """Formats a mapping of fields by a list of spans, tokenises it, and knows which token came from which span.

    A token belongs to the span of its last character, so that the word after `Query:` counts as text although its
    token starts with the space before it. A span whose fields are all empty is left out. Special tokens are put in as
    ids and survive every truncation, so the last token is the one that the template states.
    """

    def __init__(self, config: TemplateConfig, tokenizer: Any, max_tokens: int, max_length: int) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                f"{type(tokenizer).__name__} gives no character offsets: span templates need a fast tokenizer"
            )
        self.config = config
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.max_length = min(max_length, config.max_tokens or max_length)
        self.seen = 0
        self.truncated = 0
        self._pieces = {
            place: pieces(spans, config.words, tokenizer, ".".join(place)) for place, spans in config.roles()
        }

    def embed(
        self, texts: Sequence[str], role: str, instruction: str | Sequence[str] = "", max_tokens: int | None = None
    ) -> list[Tokens]:
        """Tokens of `texts` in a role (`query`, `document`): the role's spans, or those of `default`.

        One instruction serves all texts, or each has its own.
        """
        prompts = [instruction] * len(texts) if isinstance(instruction, str) else instruction
        rows = [{"text": text, "instruction": prompt} for text, prompt in zip(texts, prompts, strict=True)]
        return self._tokens(self._role(role), rows, max_tokens)

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
        return self._tokens(self._pieces["likelihood",], rows, max_tokens)

    def ending(self, role: str) -> int | None:
        """The id of the token with which every text of the role ends and which is pooled, or None if it varies."""
        last = self._role(role)[-1]
        always = not last.needs or "text" in last.needs  # a text is never empty
        return last.token if last.span.pool and always else None

    def _role(self, role: str) -> list[Piece]:
        return self._pieces["embed", role if role in self.config.embed else "default"]

    def _tokens(self, made: Sequence[Piece], rows: list[dict[str, str]], max_tokens: int | None) -> list[Tokens]:
        laid = [_laid_out(made, row) for row in rows]
        encoded = self._encoded(laid)
        limit = max_tokens or self.max_tokens
        return [self._assemble(made, parts, encoded, limit) for parts in laid]

    def _encoded(self, laid: Sequence[Sequence[_Run | int]]) -> _Encoded:
        texts = list(dict.fromkeys(part[0] for parts in laid for part in parts if isinstance(part, tuple)))
        if not texts:
            return {}
        out = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return dict(zip(texts, zip(out["input_ids"], out["offset_mapping"], strict=True), strict=True))

    def _assemble(
        self, made: Sequence[Piece], parts: Sequence[_Run | int], encoded: _Encoded, max_tokens: int
    ) -> Tokens:
        groups: list[list[int]] = [[] for _ in made]
        for part in parts:
            if isinstance(part, int):
                groups[part].append(made[part].token or 0)
                continue
            text, ends = part
            at = 0
            for token, (_, stop) in zip(*encoded[text], strict=True):
                while at + 1 < len(ends) and stop > ends[at][1]:
                    at += 1
                groups[ends[at][0]].append(token)
        cut = [_cut(piece, group, piece.limit(max_tokens)) for piece, group in zip(made, groups, strict=True)]
        over = sum(map(len, cut)) - self.max_length
        for position in sorted(range(len(made)), key=lambda i: -len(cut[i])):
            if over > 0 and made[position].holds_text:
                kept = max(1, len(cut[position]) - over)
                over -= len(cut[position]) - kept
                cut[position] = _cut(made[position], cut[position], kept)
        if over > 0:
            raise ConfigError(f"the template alone exceeds the {self.max_length} tokens that a text may have")
        with _COUNTING:
            self.seen += 1
            self.truncated += cut != groups
        if not any(cut):
            raise DataError("a text gives no token at all: it is empty and the template adds nothing")
        marked = [(piece.span, token) for piece, group in zip(made, cut, strict=True) for token in group]
        return Tokens(
            tuple(token for _, token in marked),
            tuple(span.pool for span, _ in marked),
            tuple(span.target for span, _ in marked),
        )


def _laid_out(made: Sequence[Piece], row: Mapping[str, str]) -> list[_Run | int]:
    """What to tokenise for a row: runs of text, and between them the numbers of the pieces that are one token."""
    parts: list[_Run | int] = []
    joined = False
    for index, piece in enumerate(made):
        if piece.needs and not any(row.get(name) for name in piece.needs):
            continue
        if piece.token is not None:
            parts.append(index)
            joined = False
            continue
        before: _Run = ("", [])
        if joined and not piece.apart and isinstance(parts[-1], tuple):
            before = parts.pop()  # type: ignore[assignment]
        text = before[0] + piece.filled(row)
        parts.append((text, [*before[1], (index, len(text))]))
        joined = not piece.apart
    return parts


def _cut(piece: Piece, group: list[int], limit: int | None) -> list[int]:
    if limit is None or len(group) <= limit:
        return group
    if piece.span.truncate == "never":
        raise DataError(f"a text of {len(group)} tokens exceeds {limit} and its span says `truncate: never`")
    return group[:limit] if piece.span.truncate == "right" else group[-limit:]


def complete(config: TemplateConfig | None, tokenizer: Any, generates: bool) -> TemplateConfig:
    """`config` with the tokenizer's own format for what it leaves open."""
    if config is not None and config.embed and (config.likelihood is not None or not generates):
        return config
    own = default_template(tokenizer, generates)
    if config is None:
        return own
    filled = {"embed": config.embed or own.embed, "likelihood": config.likelihood or own.likelihood}
    return config.model_copy(update=filled)


def default_template(tokenizer: Any, generates: bool) -> TemplateConfig:
    """Spans for a model whose YAML gives none: the tokenizer's own special tokens around the text.

    An instruction stands on a line before the text and is attended to but not pooled. A likelihood is that of the
    target after the prefix and a line break, without any end token. `add_bos_token` and `add_eos_token` of the
    tokenizer's configuration are obeyed: transformers 5 ignores them for some tokenizers.
    """
    before, after = _surroundings(tokenizer)
    head, tail = (
        [Span(text=token, tokenize="token") for token in tokenizer.convert_ids_to_tokens(ids)]
        for ids in (before, after)
    )
    instruction = Span(text="{instruction}\n", pool=False)
    embed = [*head, instruction, Span(text="{text}"), *tail]
    score = [*head, Span(text="{instruction}\n"), Span(text="{prefix}\n"), Span(text="{target}", target=True)]
    return TemplateConfig(embed={"default": embed}, likelihood=score if generates else None)


def _surroundings(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    starts = [i for i in range(len(full)) if full[i : i + len(bare)] == bare]
    if not starts:
        raise ConfigError(
            f"{type(tokenizer).__name__} changes a text when it adds its special tokens ({bare} becomes {full}): "
            "say in model.template what a text looks like"
        )
    before, after = full[: starts[0]], full[starts[0] + len(bare) :]
    wanted: Mapping[str, Any] = getattr(tokenizer, "init_kwargs", {})
    if wanted.get("add_bos_token") and tokenizer.bos_token_id is not None and tokenizer.bos_token_id not in before:
        before = [tokenizer.bos_token_id, *before]
    if wanted.get("add_eos_token") and tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in after:
        after = [*after, tokenizer.eos_token_id]
    return before, after
