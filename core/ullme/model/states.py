"""One call of a backbone's body: the keyword arguments that every family needs, decided in one place."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from torch import Tensor

from ullme.types import LoadedBackbone


@cache
def _accepted(body: type) -> frozenset[str]:
    forward: Any = body.forward  # type: ignore[attr-defined]
    return frozenset(inspect.signature(inspect.unwrap(forward)).parameters)


def hidden_states(loaded: LoadedBackbone, ids: Tensor, mask: Tensor, layer: int = -1) -> Tensor:
    """Hidden states [n, T, d] of `layer` (-1: the last, after the final norm).

    Positions follow the mask, so that padding on either side leaves the states of real tokens as they are.
    """
    accepted = _accepted(type(loaded.body))  # type: ignore[arg-type]
    kwargs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in accepted:
        kwargs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "use_cache" in accepted:
        kwargs["use_cache"] = False
    if layer == -1:
        states: Tensor = loaded.body(**kwargs).last_hidden_state
        return states
    return loaded.body(**kwargs, output_hidden_states=True).hidden_states[layer]  # type: ignore[no-any-return]
