"""Attention as a config can say it: which settings make the stock model attend as ours does when it embeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ullme import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from ullme import Embedder

_EXPRESSIBLE = ("bidirectional", "causal")


@dataclass(frozen=True)
class Settings:
    """Changes to a config: as it is written, and as it is once read (some families compute with what they read)."""

    written: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)
    implementation: str | None = None
    """What must be asked for at load time; None where it is what a reader would choose."""

    @property
    def look_ahead(self) -> bool:
        """Whether a decoder is told to attend both ways."""
        return bool(self.read)


def settings(embedder: Embedder) -> Settings:
    """The settings, tried on the model in hand. Raises ExportError, with the reason, where there are none."""
    name = embedder.config.attention.embed.name
    family = embedder.loaded.body.config.model_type
    if name not in _EXPRESSIBLE:
        raise ExportError(f"attention {name!r}: a config can say bidirectional or causal, and no more")
    ahead = embedder.modes["embed"].sees_future
    if ahead and (reason := _patched(embedder.loaded.body.config)):
        raise ExportError(f"{family}: {reason}: other readers would compute other vectors. Keep the `ullme` format.")
    problems = []
    for found in _candidates(embedder, ahead):
        try:
            with _set(embedder.loaded.body.config, found.read):
                error = _distance(embedder)
        except (ValueError, RuntimeError, TypeError, NotImplementedError, AttributeError) as exc:
            problems.append(f"{_stock(found)} fails: {str(exc).splitlines()[0]}")
            continue
        if error <= _limit(embedder):
            return found
        kernel = embedder.loaded.body.config._attn_implementation
        problems.append(f"{_stock(found)} gives other vectors (by {error:.2g}) with {kernel} attention, silently")
    raise ExportError(f"{family}: {problems[-1]}.{_ADVICE}")


def _patched(config: Any) -> str | None:
    """What is changed here in a family's layers so that it can look ahead, which no config can say."""
    if config.model_type in ("bloom", "mpt") or getattr(config, "alibi", False):
        return "its linear biases (ALiBi) are made symmetric here and one-sided in the stock model"
    if config.model_type == "gpt_neo":
        return "each of its layers holds a causal mask of its own, which is lifted here"
    return None


_ADVICE = "\n  Try `backbone: {attn_implementation: eager}`, or keep the `ullme` format."


def _stock(found: Settings) -> str:
    return "is_causal=False of transformers" if found.look_ahead else "the stock model"


def _candidates(embedder: Embedder, ahead: bool) -> Iterator[Settings]:
    body: Any = embedder.loaded.body
    config = body.config
    usual = "sdpa" if type(body)._supports_sdpa else "eager"
    kernel = None if config._attn_implementation == usual else config._attn_implementation
    if not ahead or _sees_future(embedder):
        yield Settings(implementation=kernel)
        return
    window = getattr(config, "sliding_window", None)
    if hasattr(config, "use_bidirectional_attention"):
        # A family's own switch, as Gemma 3 has it: a window W is written as 2 (W - 1) and halved when it is read.
        width = {} if window is None else {"sliding_window": 2 * (window - 1)}
        flag = {"use_bidirectional_attention": True}
        yield Settings({**flag, **width}, flag, kernel)
    # transformers' two-way window reaches W tokens to each side, and the model was trained to reach W - 1.
    width = {} if window is None else {"sliding_window": window - 1}
    flags = {"is_causal": False, "use_bidirectional_attention": True, **width}
    yield Settings(flags, flags, kernel)


@contextmanager
def _set(config: Any, changes: Mapping[str, Any]) -> Iterator[None]:
    missing = object()
    before = {name: getattr(config, name, missing) for name in changes}
    for name, value in changes.items():
        setattr(config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(config, name)
            else:
                setattr(config, name, value)


def _sees_future(embedder: Embedder) -> bool:
    """Whether the stock model, as an encoder does, lets a first token see a later one."""
    import torch

    size = min(embedder.loaded.body.config.vocab_size, 1000)
    ids = torch.randint(3, size, (2, 7), generator=torch.Generator().manual_seed(0)).to(embedder.device)
    ids[1, :-1] = ids[0, :-1]
    ids[1, -1] = 3 + (ids[0, -1] - 2) % (size - 3)
    states = _states(embedder, ids, torch.ones_like(ids))
    return bool((states[0, 0] - states[1, 0]).abs().max() > 1e-5 * states[0, 0].abs().max())


def _states(embedder: Embedder, ids: Tensor, mask: Tensor) -> Tensor:
    """States of the stock model, called with what every reader gives it."""
    import torch

    body: Any = embedder.loaded.body
    half = next(body.parameters()).dtype
    mixed = embedder.adapter is not None and half != torch.float32
    autocast = torch.autocast(embedder.device.type, dtype=half if mixed else torch.bfloat16, enabled=mixed)
    with torch.no_grad(), embedder.evaluating(), autocast:
        states: Tensor = body(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    return states


def _distance(embedder: Embedder) -> float:
    """Largest difference between our vectors and those from the stock model's states: one text alone, then two."""
    import torch

    from ullme.model.embedder import VectorCall
    from ullme.model.reference import TEXTS
    from ullme.model.tokens import pad

    texts = embedder.template.embed([TEXTS[2], TEXTS[1]], "default", embedder.prompt("default"))
    worst = 0.0
    for batch in (texts[:1], texts):
        padded = pad(batch, embedder.device)
        with torch.no_grad(), embedder.evaluating():
            stock = embedder.pooled(_states(embedder, padded.ids, padded.mask), padded.mask, padded.pool)
            ours = embedder(VectorCall(batch, adapter=embedder.route("default")))
        worst = max(worst, float((stock - ours).abs().max() / ours.abs().max().clamp(min=1e-9)))
    return worst


def _limit(embedder: Embedder) -> float:
    import torch

    return 1e-4 if next(embedder.loaded.body.parameters()).dtype == torch.float32 else 0.1
