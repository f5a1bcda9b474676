"""Linear biases (ALiBi, arXiv:2108.12409) for calls that look ahead.

transformers stores slope * k, which the softmax makes slope * (k - q): a penalty on the past, but a reward on the
future that grows with distance. Left alone, a bidirectional token would look at the end of the text above all. While a
call looks ahead the bias is -slope * |q - k|, distances counted in real tokens; otherwise the stock function answers,
bit for bit. The bias is made before the layers run, so gradient checkpointing replays it. With a cache (generation
whose prompt is read both ways) it has a row for each new token and a column for each token there is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Active = Callable[[], bool]
SymmetricBias = Callable[[Active], None]


_CALL = threading.local()
"""`new`: the tokens that the body running in this thread is given; `seen`: those in its cache."""


def symmetric(slopes: Tensor, places: Tensor) -> Tensor:
    """-slope * |q - k| for slopes [H] and places [B, T], as [B * H, T, T]."""
    apart = (places[:, :, None] - places[:, None, :]).abs()
    return (-slopes[None, :, None, None] * apart[:, None]).flatten(0, 1)


def bloom(body: Any, active: Active) -> None:
    """Patch one BLOOM body."""
    body.register_forward_pre_hook(_note, with_kwargs=True)
    body.build_alibi_tensor = _from_mask(body.build_alibi_tensor, active)


def falcon(body: Any, active: Active) -> None:
    """Patch the function from which every Falcon model takes its biases; inert while nothing looks ahead."""
    from transformers.models.falcon import modeling_falcon as module  # noqa: TID251  (its families' own place)

    body.register_forward_pre_hook(_note, with_kwargs=True)
    if getattr(module.build_alibi_tensor, "asks", None) is not active:
        module.build_alibi_tensor = _from_mask(module.build_alibi_tensor, active)
        module.build_alibi_tensor.asks = active


def mpt(body: Any, active: Active) -> None:
    """Patch one MPT body, which makes its biases for the longest text: here for the text at hand alone."""
    import torch

    stock = body.build_mpt_alibi_tensor

    def biases(heads: int, length: int, alibi_bias_max: int = 8, device: Any = None) -> Tensor:
        if not active():
            return stock(heads, length, alibi_bias_max, device)  # type: ignore[no-any-return]
        pair = stock(heads, 2, alibi_bias_max, device)[:, 0]
        places = torch.arange(_CALL.seen + _CALL.new, device=device)
        return symmetric(pair[:, 1] - pair[:, 0], places[None])[:, -_CALL.new :]

    body.register_forward_pre_hook(_note, with_kwargs=True)
    body.build_mpt_alibi_tensor = biases


def _note(module: Any, args: Any, kwargs: Any) -> None:
    given = kwargs.get("input_ids", args[0] if args else None)
    cache = kwargs.get("past_key_values")
    _CALL.new = (kwargs["inputs_embeds"] if given is None else given).shape[1]
    _CALL.seen = 0 if cache is None else cache.get_seq_length()


def _from_mask(stock: Callable[..., Tensor], active: Active) -> Callable[..., Tensor]:
    def biases(attention_mask: Tensor, num_heads: int, dtype: Any) -> Tensor:
        import torch

        if not active():
            return stock(attention_mask, num_heads, dtype)
        pair = stock(attention_mask.new_ones(1, 2), num_heads, torch.float32)[:, 0]
        places = (attention_mask.cumsum(-1) - 1) * attention_mask
        return symmetric(pair[:, 1] - pair[:, 0], places)[:, -_CALL.new :].to(dtype)

    return biases
