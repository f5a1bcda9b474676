"""From span templates to what a plain reader can do: text before the text, and special tokens around both.

A reader such as sentence-transformers or vLLM tokenises PROMPT + TEXT and lets the tokenizer put its special tokens
around it. So a template is expressible if every role is that, and if the token ids come out the same: which is not
argued here but tried, on texts of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from ullme import ExportError

if TYPE_CHECKING:
    from ullme import Embedder


@dataclass(frozen=True)
class Use:
    """One way of using the model that has a name: a role, or a task's prompt in a role."""

    name: str
    role: str
    instruction: str


@dataclass(frozen=True)
class Frame:
    """What stands around the text: tokens `head`, the string `prompt`, the text, tokens `tail`.

    `limit` is how many tokens the whole has at most.
    """

    head: tuple[int, ...]
    prompt: str
    tail: tuple[int, ...]
    limit: int


def uses(embedder: Embedder) -> list[Use]:
    """Every role, then every entry of the prompt table that belongs to a task, under the names that mteb looks up."""
    roles = list(dict.fromkeys(["default", "query", "document", *embedder.template.config.embed]))
    found = [Use(role, role, embedder.prompt(role)) for role in roles]
    for key, instruction in embedder.config.prompts.items():
        if key in roles:
            continue
        of_role = next((role for role in roles if key.endswith(f"-{role}")), None)
        if of_role is not None:
            found.append(Use(key, of_role, instruction))
            continue
        found.append(Use(key, "default", instruction))
        found += [
            Use(f"{key}-{role}", role, instruction)
            for role in ("query", "document")
            if f"{key}-{role}" not in embedder.config.prompts
        ]
    return found


def frame(embedder: Embedder, use: Use) -> Frame:
    """The template of a use, as tokens and text around the text. Raises ExportError for one that is more than that."""
    from ullme.model.pieces import pieces

    template, tokenizer = embedder.template, embedder.template.tokenizer
    role = use.role if use.role in template.config.embed else "default"
    sides: list[list[int | str]] = [[]]
    for piece in pieces(template.config.embed[role], template.config.words, tokenizer, f"embed.{role}"):
        if piece.needs and "text" not in piece.needs and not use.instruction:
            continue
        if piece.token is not None:
            sides[-1].append(piece.token)
            continue
        if piece.holds_text and piece.span.truncate == "left":
            raise ExportError(f"role {role!r} cuts long texts on the left: readers would cut the prompt")
        for number, part in enumerate(piece.text.split("{text}")):
            if number:
                sides.append([])
            if part:
                sides[-1].append(part.replace("{instruction}", use.instruction))
    if len(sides) != 2:
        raise ExportError(f"the template of role {role!r} holds the text {len(sides) - 1} times: readers give it once")
    before, after = sides
    head = tuple(takewhile(lambda item: isinstance(item, int), before))
    prompt = "".join(_written(tokenizer, item) for item in before[len(head) :])
    tail = [token for item in after for token in _tokens(tokenizer, item)]
    return Frame(head, prompt, tuple(tail), _limit(embedder, use))  # type: ignore[arg-type]


def _tokens(tokenizer: Any, item: int | str) -> list[int]:
    return [item] if isinstance(item, int) else tokenizer(item, add_special_tokens=False)["input_ids"]


def _written(tokenizer: Any, item: int | str) -> str:
    return tokenizer.convert_ids_to_tokens(item) if isinstance(item, int) else item


def _limit(embedder: Embedder, use: Use) -> int:
    """Tokens of a text that is as long as this use takes, everything around it included."""
    from ullme import DataError

    long = "one word " * min(embedder.template.max_tokens, embedder.template.max_length)
    try:
        return len(embedder.template.embed([long], use.role, use.instruction)[0])
    except DataError:  # `truncate: never`
        return embedder.template.max_length


def texts(embedder: Embedder) -> list[str]:
    """The reference texts, and one that is too long for the model."""
    from ullme.model.reference import TEXTS

    return [*TEXTS, "one more word, 42; " * min(embedder.template.max_tokens, embedder.template.max_length)]


def as_read(tokenizer: Any, prompt: str, text: str, limit: int, include_prompt: bool) -> tuple[list[int], list[bool]]:
    """Token ids, and which of them are pooled, as sentence-transformers makes them (6.2, `Transformer.preprocess`)."""
    ids = tokenizer(prompt + text, truncation="longest_first", max_length=limit, verbose=False)["input_ids"]
    skipped = 0
    if prompt and not include_prompt:
        alone = tokenizer(prompt, truncation="longest_first", max_length=limit, verbose=False)["input_ids"]
        skipped = len(alone) - (alone[-1] in tokenizer.all_special_ids)
    return ids, [place >= skipped for place in range(len(ids))]


def mismatches(
    embedder: Embedder,
    tokenizer: Any,
    prompts: Mapping[str, str],
    limits: Mapping[str, int],
) -> Iterator[str]:
    """Where `tokenizer` after the prompts gives other ids than the model's template does."""
    from ullme import DataError

    for use in uses(embedder):
        for text in texts(embedder):
            try:
                wanted = list(embedder.template.embed([text], use.role, use.instruction)[0].ids)
            except DataError:
                continue
            found, _ = as_read(tokenizer, prompts[use.name], text, limits[use.name], True)
            if found != wanted:
                place = next((i for i, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]), len(found))  # noqa: B905
                mine, theirs = (tokenizer.convert_ids_to_tokens(ids[place : place + 4]) for ids in (wanted, found))
                yield f"{use.name}: {text[:30]!r} has tokens {mine} at {place} here and {theirs} there"
