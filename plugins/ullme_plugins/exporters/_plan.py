"""What a plain reader must do to get the model's vectors, settled before anything is written."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ullme import DataError, ExportError
from ullme_plugins.exporters._attention import Settings, settings
from ullme_plugins.exporters._heads import DenseLayer, dense_layers
from ullme_plugins.exporters._texts import as_read, texts, uses
from ullme_plugins.exporters._tokenizer import Tokenization, tokenization

if TYPE_CHECKING:
    from ullme import Embedder

POOLING = {
    "mean": "mean",
    "cls": "cls",
    "last": "lasttoken",
    "max": "max",
    "mean-sqrt-len": "mean_sqrt_len_tokens",
    "weighted-mean": "weightedmean",
}
"""Our poolers and the names that sentence-transformers has for them."""


@dataclass(frozen=True)
class Plan:
    """Everything but the weights of the language model."""

    attention: Settings
    texts: Tokenization
    pooling: str
    include_prompt: bool
    layers: list[DenseLayer]
    truncated: bool
    """Whether the last layer leaves out dimensions."""
    normalize: bool
    similarity: str
    hidden_size: int
    adapter: str | None
    """Which of several adapters is folded in."""
    model_kwargs: dict[str, Any]
    """What must be asked for when the stock model is loaded."""

    @property
    def default_prompt(self) -> str | None:
        """The name of the prompt that texts of no role need."""
        return "default" if self.texts.prompts["default"] else None

    @property
    def prompts(self) -> dict[str, str]:
        """Text before the text, by role and by task; empty ones only where a default must not stand in for them."""
        needed = ("query", "document") if self.default_prompt else ()
        return {name: text for name, text in self.texts.prompts.items() if text or name in needed}

    @property
    def max_length(self) -> int:
        """Tokens of the longest input of no particular role, which readers take for all."""
        return self.texts.limits["default"]

    @property
    def lengths(self) -> dict[str, int]:
        """Longest inputs of the roles that have one of their own, because their prompts take room."""
        limits = self.texts.limits
        return {role: limits[role] for role in ("query", "document") if limits[role] != self.max_length}


def plan(embedder: Embedder) -> Plan:
    """The plan for `embedder`. Raises ExportError, with the reason, if no plain reader can give its vectors."""
    config, body = embedder.config, type(embedder.loaded.body)
    if not body.__module__.startswith("transformers."):
        raise ExportError(f"{body.__name__} is no class of transformers: a reader would have to run code of others")
    pooler = config.pooler.record.name if config.pooler.record.dist == "ullme" else config.pooler.name
    pooling = POOLING.get(pooler)
    if pooling is None:
        known = ", ".join(sorted(POOLING))
        raise ExportError(f"pooler {pooler!r}: other readers know {known}")
    adapters = sorted({embedder.route(use.role) or "" for use in uses(embedder)})
    if len(adapters) > 1:
        raise ExportError(f"the roles use different adapters ({', '.join(adapters)}): one set of weights holds one")
    attention = settings(embedder)
    made = tokenization(embedder)
    return Plan(
        attention,
        made,
        pooling,
        _include_prompt(embedder, made, pooling),
        dense_layers(embedder),
        config.dimensions is not None,
        config.normalize,
        config.similarity,
        embedder.loaded.hidden_size,
        adapters[0] or None,
        _model_kwargs(embedder, attention),
    )


def _model_kwargs(embedder: Embedder, attention: Settings) -> dict[str, Any]:
    from inspect import signature

    asked: dict[str, Any] = {}
    if attention.implementation is not None:
        asked["attn_implementation"] = attention.implementation
    body = embedder.loaded.body
    if "add_pooling_layer" in signature(type(body)).parameters and getattr(body, "pooler", None) is None:
        asked["add_pooling_layer"] = False  # its weights are not there; a reader would draw random ones
    return asked


def _include_prompt(embedder: Embedder, made: Tokenization, pooling: str) -> bool:
    """Whether readers pool over the prompt too. Raises ExportError if neither way pools the model's tokens."""
    misses = {}
    for include in (True, False):
        wrong = _missed(embedder, made, pooling, include)
        if wrong is None:
            return include
        misses[include] = wrong
    raise ExportError(
        f"{misses[False] if any(made.prompts.values()) else misses[True]}.\n  Readers pool over all tokens or, with an"
        " instruction, over those after it, special tokens at the front left out with it. A template that pools so:"
        ' `query: [{text: "{bos}", pool: false}, {text: "{instruction}\\n", pool: false}, "{text}"]`.'
    )


def _missed(embedder: Embedder, made: Tokenization, pooling: str, include: bool) -> str | None:
    by_rank = pooling == "weightedmean" and getattr(embedder.config.pooler.config, "positions", "mask") == "mask"
    for use in uses(embedder):
        for text in texts(embedder):
            try:
                wanted = embedder.template.embed([text], use.role, use.instruction)[0].pool
            except DataError:
                continue
            _, found = as_read(made.tokenizer, made.prompts[use.name], text, made.limits[use.name], include)
            if _read(pooling, wanted) != _read(pooling, found):
                return f"{use.name}: the template pools {_shown(wanted)}, readers {_shown(found)}"
            if by_rank and not all(wanted):
                return f"{use.name}: the pooler counts pooled tokens from 1, readers count the prompt's too"
    return None


def _read(pooling: str, pooled: Sequence[bool]) -> Hashable:
    """As much of the marks as the pooling depends on."""
    if pooling == "cls":
        return pooled.index(True) if any(pooled) else None
    if pooling == "lasttoken":
        return len(pooled) - 1 - pooled[::-1].index(True) if any(pooled) else None
    return tuple(pooled)


def _shown(pooled: Sequence[bool]) -> str:
    runs: list[tuple[int, int]] = []
    for place, marked in enumerate(pooled):
        if marked and runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        elif marked:
            runs.append((place, place + 1))
    return "tokens " + ", ".join(f"{start} to {end - 1}" for start, end in runs) + f" of {len(pooled)}"


def as_json(found: Plan) -> dict[str, Any]:
    """The plan as ullme.json holds it, for whoever reads the folder without sentence-transformers."""
    from ullme_plugins.exporters._heads import described

    return {
        "prompts": dict(found.texts.prompts),
        "max_length": found.max_length,
        "max_lengths": dict(found.texts.limits),
        "pooling": found.pooling,
        "include_prompt": found.include_prompt,
        "dense": described(found.layers),
        "normalize": found.normalize,
        "similarity": found.similarity,
        "model_kwargs": found.model_kwargs,
        "bidirectional": found.attention.look_ahead,
    }
