"""One call of a backbone's body: the keyword arguments that every family needs, decided in one place."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ullme.errors import ConfigError
from ullme.types import LoadedBackbone


@cache
def _accepted(body: type) -> frozenset[str]:
    forward: Any = body.forward  # type: ignore[attr-defined]
    return frozenset(inspect.signature(inspect.unwrap(forward)).parameters)


def takes_positions(loaded: LoadedBackbone) -> bool:
    """Whether the body can be told the position of each token, without which texts cannot share a row."""
    return "position_ids" in _accepted(type(loaded.body))  # type: ignore[arg-type]


def computes_in(loaded: LoadedBackbone) -> torch.dtype:
    """The precision of its states: that of the weights, or half where kernels for quantised weights compute."""
    return torch.bfloat16 if loaded.quantised else next(loaded.body.parameters()).dtype


def hidden_states(
    loaded: LoadedBackbone,
    ids: Tensor,
    mask: Tensor,
    layers: Sequence[int] = (-1,),
    positions: Tensor | None = None,
) -> Tensor:
    """Hidden states [n, T, d] of the layers (-1: the last, after the final norm), averaged where they are several.

    Positions follow the mask unless given, so that padding on either side leaves the states of real tokens as they are.
    """
    accepted = _accepted(type(loaded.body))  # type: ignore[arg-type]
    kwargs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in accepted:
        counted = (mask.cumsum(-1) - 1).clamp(min=0) if positions is None else positions
        kwargs["position_ids"] = counted + loaded.position_offset
    if "use_cache" in accepted:
        kwargs["use_cache"] = False
    if tuple(layers) == (-1,):
        states: Tensor = loaded.body(**kwargs).last_hidden_state
        return states
    found = loaded.body(**kwargs, output_hidden_states=True).hidden_states
    absent = [layer for layer in layers if not -len(found) <= layer < len(found)]
    if absent:
        name = type(loaded.body).__name__
        raise ConfigError(f"{name} has hidden states 0 to {len(found) - 1} (or -1 to -{len(found)}); found {absent[0]}")
    total: Tensor = found[layers[0]]
    for layer in layers[1:]:
        total = total.float() + found[layer]
    return total / len(layers) if len(layers) > 1 else total
