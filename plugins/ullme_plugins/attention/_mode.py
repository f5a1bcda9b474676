"""The attention direction of the current call, and the wrappers that obey it.

eager, sdpa and flex_attention are masks: the model's own mask function m becomes m(q, k) or m(k, q), its symmetric
closure, so sliding windows, chunks and packed documents keep their borders. The mask is always materialised: a
skipped one would let SDPA fall back to its causal flag. It is built before the layers run and handed to them, so
gradient checkpointing, whose recomputation happens outside any context, replays the same attention.

Flash kernels take no mask. There the 2-D padding mask itself carries the mode to the kernel call, for the same
reason: neither a context nor a module flag would still be right when a layer is recomputed.
"""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

SYMMETRIC: contextvars.ContextVar[bool] = contextvars.ContextVar("ullme_symmetric_attention", default=False)
_LOCK = threading.Lock()
_TAG = "_ullme_symmetric"
_FULL = "_ullme_no_padding"


@contextlib.contextmanager
def symmetric(on: bool) -> Iterator[None]:
    """Forward calls of this thread inside the context attend both ways (`on`) or as the model was trained."""
    token = SYMMETRIC.set(on)
    try:
        yield
    finally:
        SYMMETRIC.reset(token)


def install(implementation: str) -> None:
    """Wrap transformers' mask (and flash kernel) functions of `implementation` once; inert while the mode is off."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KERNELS
    from transformers.modeling_utils import AttentionInterface

    with _LOCK:
        flash = "flash" in implementation
        for functions, interface, wrap in (
            (MASKS, AttentionMaskInterface, _flash_mask if flash else _closed_mask),
            *([(KERNELS, AttentionInterface, _flash_kernel)] if flash else []),
        ):
            original = functions[implementation]
            if not hasattr(original, _TAG):
                wrapped = wrap(original)
                setattr(wrapped, _TAG, True)
                interface.register(implementation, wrapped)


def _closed_mask(original: Callable[..., Any]) -> Callable[..., Any]:
    from transformers.masking_utils import causal_mask_function

    def mask(*args: Any, **kwargs: Any) -> Any:
        if SYMMETRIC.get():
            kwargs["mask_function"] = _closure(kwargs.get("mask_function", causal_mask_function))
            kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
        return original(*args, **kwargs)

    return mask


def _closure(allowed: Callable[..., Any]) -> Callable[..., Any]:
    return lambda batch, head, q, k: allowed(batch, head, q, k) | allowed(batch, head, k, q)


def _flash_mask(original: Callable[..., Any]) -> Callable[..., Any]:
    def mask(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if not SYMMETRIC.get():
            return result
        import torch

        full = result is None
        if full:
            result = torch.ones(kwargs["batch_size"], kwargs["kv_length"], dtype=torch.bool, device=kwargs["device"])
        else:
            result = result.clone()  # the caller's own mask must not carry our mark
        setattr(result, _TAG, True)
        setattr(result, _FULL, full)
        return result

    return mask


def _flash_kernel(original: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(attention_mask, _TAG, False):
            kwargs["is_causal"] = False
            attention_mask = None if getattr(attention_mask, _FULL) else attention_mask
        return original(module, query, key, value, attention_mask, *args, **kwargs)

    return kernel
