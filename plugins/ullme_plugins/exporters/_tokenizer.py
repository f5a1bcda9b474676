"""A tokenizer that puts a template's special tokens around any text by itself, and keeps doing so when reloaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme import ExportError
from ullme_plugins.exporters._texts import frame, mismatches, uses

if TYPE_CHECKING:
    from ullme import Embedder


@dataclass(frozen=True)
class Tokenization:
    """A tokenizer with the text that goes before each named use, and the longest input of each, in tokens."""

    tokenizer: Any
    prompts: Mapping[str, str]
    limits: Mapping[str, int]


def tokenization(embedder: Embedder) -> Tokenization:
    """The tokenizer as it is, or with other tokens around every text. Raises ExportError if neither gives the ids."""
    frames = {use.name: frame(embedder, use) for use in uses(embedder)}
    own = embedder.template.tokenizer
    tails = {found.tail for found in frames.values()}
    if len(tails) > 1:
        listed = " and ".join(str(own.convert_ids_to_tokens(ids)) for ids in sorted(tails))
        raise ExportError(f"what follows a text depends on its role ({listed}): a tokenizer ends every text alike")
    head = _common([found.head for found in frames.values()])
    prompts = {
        name: "".join(own.convert_ids_to_tokens(found.head[len(head) :])) + found.prompt
        for name, found in frames.items()
    }
    limits = {name: found.limit for name, found in frames.items()}
    plain = _plain(own, limits["default"])
    wrong = ""
    for tokenizer in (plain, _around(plain, list(head), list(tails.pop()))):
        wrong = next(mismatches(embedder, tokenizer, prompts, limits), "")
        if not wrong:
            return Tokenization(tokenizer, prompts, limits)
    raise ExportError(f"plain text does not give the template's tokens: {wrong}")


def _common(heads: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The tokens with which all of them start."""
    same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*heads, strict=False))
    return tuple(tokens[0] for tokens in same)


def _plain(tokenizer: Any, limit: int) -> Any:
    """A copy for readers that pad by themselves: on the right, where absolute positions stay what they are."""
    made = copy.deepcopy(tokenizer)
    made.padding_side = made.truncation_side = "right"
    made.chat_template = None  # a reader would put every text into it
    made.model_max_length = limit
    if made.pad_token is None:
        made.pad_token = made.eos_token or made.unk_token
    if made.pad_token is None:
        raise ExportError(f"{type(tokenizer).__name__} has no token to pad with: give it a pad_token")
    return made


def _around(tokenizer: Any, head: list[int], tail: list[int]) -> Any:
    from tokenizers.processors import TemplateProcessing

    made = copy.deepcopy(tokenizer)
    pieces = [
        {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
        for name, ids in (("head", head), ("tail", tail))
        if ids
    ]
    before, behind = (["head"] if head else []), (["tail"] if tail else [])
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*before, "$A", *behind], pair=[*before, "$A", *behind, "$B:1", *behind], special_tokens=pieces
    )
    return made


def write(embedder: Embedder, made: Tokenization, folder: Path) -> None:
    """Save the tokenizer so that AutoTokenizer gives the same ids back. Raises ExportError if it cannot be had."""
    made.tokenizer.save_pretrained(folder)
    for path in folder.glob("chat_template*"):
        path.unlink()
    wrong = _reloaded(embedder, made, folder)
    if wrong is not None:
        # A family's own tokenizer class may rebuild what stands around a text; the plain class reads tokenizer.json.
        file = folder / "tokenizer_config.json"
        settings = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2), "utf-8")
        wrong = _reloaded(embedder, made, folder)
    if wrong is not None:
        raise ExportError(f"the tokenizer gives other tokens once it is saved and loaded: {wrong}")


def _reloaded(embedder: Embedder, made: Tokenization, folder: Path) -> str | None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError) as error:
        return str(error).splitlines()[0]
    return next(mismatches(embedder, tokenizer, made.prompts, made.limits), None)
