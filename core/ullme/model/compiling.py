"""Decoder layers compiled one by one: for one use, and without a trace afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ullme.errors import ConfigError

Forward = Callable[..., Any]


def compiled(blocks: Sequence[nn.Module]) -> list[Forward]:
    """The forwards of `blocks`, compiled when first called. Layers of one kind share their code, whatever the batch.

    The attention mask is built before the layers and handed to them, so no mode is baked in. Every layer of every model
    counts as one function there, whose variants (kinds of layer, a batch of one text) torch limits to 8 a process.
    """
    settings: Any = torch._dynamo.config
    settings.recompile_limit = max(settings.recompile_limit, 64)
    return [torch.compile(block.forward, dynamic=True) for block in blocks]


@contextmanager
def using(blocks: Sequence[nn.Module], forwards: Sequence[Forward]) -> Iterator[None]:
    """`blocks` run by `forwards` inside and as before afterwards, so that training never meets a compiled layer.

    Raises ConfigError when the compiler fails; on a CPU it needs a C++ compiler.
    """
    pairs = list(zip(blocks, forwards, strict=True)) if forwards else []
    before: list[Any] = [block.__dict__.get("forward") for block, _ in pairs]
    try:
        for block, forward in pairs:
            block.forward = forward
        yield
    except Exception as exc:
        if not type(exc).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(exc).strip().splitlines()[0]
        raise ConfigError(f"the layers cannot be compiled here: {reason}\n  Leave `compile` off.") from exc
    finally:
        for (block, _), own in zip(pairs, before, strict=True):
            if own is None:
                block.__dict__.pop("forward", None)
            else:
                block.forward = own
