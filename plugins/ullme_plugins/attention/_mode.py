"""Who attends to whom in the current call, and the wrappers that obey it.

eager, sdpa and flex_attention are masks: the model's own mask function m becomes m(q, k) or m(k, q), its symmetric
closure, so sliding windows and chunks keep their borders; a narrower window, a one-way part and texts that share a row
are further terms. The mask is always materialised: a skipped one would let SDPA fall back to its causal flag. It is
built before the layers run and handed to them, so gradient checkpointing, whose recomputation happens outside any
context, replays the same attention.

Flash kernels take no mask. There the 2-D padding mask itself carries the mode to the kernel call, for the same
reason: neither a context nor a module flag would still be right when a layer is recomputed.
"""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ullme import AttentionError, LoadedBackbone

if TYPE_CHECKING:
    from torch import Tensor

_LOCK = threading.Lock()
_TAG = "_ullme_mode"
_FULL = "_ullme_no_padding"

MaskFunction = Callable[[Any, Any, Any, Any], Any]


@dataclass(frozen=True)
class Mode:
    """`ahead`: tokens see what follows them, `window` - 1 places away at most, and only among `free` tokens [B, T].

    `document` [B, T] numbers texts that share a row and never see each other. The default is the stock model.
    """

    ahead: bool = False
    window: int | None = None
    free: "Tensor | None" = None
    document: "Tensor | None" = None

    @property
    def stock(self) -> bool:
        """Whether the model's own mask is left as it is."""
        return not self.ahead and self.document is None

    def over(self, own: MaskFunction) -> MaskFunction:
        """The mask function of this mode for a model whose own is `own`."""
        window, free, document = self.window, self.free, self.document
        starts = None if document is None else _starts(document)

        def allowed(batch: Any, head: Any, q: Any, k: Any) -> Any:
            # chunks are counted from the start of a text, not of the row that it shares
            places = (q, k) if starts is None else (q - starts[batch, q], k - starts[batch, k])
            sees = own(batch, head, *places)
            if self.ahead:
                back = own(batch, head, *places[::-1])
                if free is not None:
                    back = back & _marked(free, batch, q) & _marked(free, batch, k)
                sees = sees | back
            if window is not None:
                sees = sees & (q - k < window) & (k - q < window)
            if document is not None:
                sees = sees & (document[batch, q] == document[batch, k])
            return sees

        return allowed


def _marked(free: "Tensor", batch: Any, index: Any) -> Any:
    """`free` at an index; tokens beyond it, generated one by one, are not free."""
    last = free.shape[1] - 1
    return free[batch, index.clamp(max=last)] & (index <= last)


def _starts(document: "Tensor") -> "Tensor":
    """Where the text of each token begins in its row, [B, T]."""
    import torch

    place = torch.arange(document.shape[1], device=document.device).expand_as(document)
    begins = document != document.roll(1, -1)
    begins[:, 0] = True
    return (place * begins).cummax(-1).values


MODE: contextvars.ContextVar[Mode] = contextvars.ContextVar("ullme_attention_mode", default=Mode())  # noqa: B039


@contextlib.contextmanager
def active(mode: Mode) -> Iterator[None]:
    """`mode` holds for forward calls of this thread inside the context."""
    token = MODE.set(mode)
    try:
        yield
    finally:
        MODE.reset(token)


def looks_ahead() -> bool:
    """Whether the current call does."""
    return MODE.get().ahead


def install(loaded: LoadedBackbone, *, ahead: bool) -> None:
    """Wrap transformers' mask (and flash kernel) functions once; they are inert in the stock mode.

    Raises AttentionError for a model that must not, or cannot, look ahead.
    """
    implementation = str(getattr(loaded.body.config, "_attn_implementation", "eager"))
    if ahead:
        _check(loaded, implementation)
    _wrap(implementation, required=ahead)
    if ahead and loaded.symmetric_bias is not None:
        loaded.symmetric_bias(looks_ahead)
        loaded.symmetric_bias = None  # every mode reads the same variable: once is enough


def _check(loaded: LoadedBackbone, implementation: str) -> None:
    name = type(loaded.model).__name__
    if loaded.refusal:
        raise AttentionError(f"{name}: {loaded.refusal}")
    if loaded.recurrent and not loaded.allow_partial:
        raise AttentionError(
            f"{name} has layers that read the text left to right whatever the attention"
            f" ({', '.join(loaded.recurrent)}).\n  Use `attention: causal` with `pooler: last`, another backbone, or"
            " `backbone.allow_partial: true` to make only its attention layers bidirectional."
        )
    if "flash" in implementation and not loaded.flash:
        raise AttentionError(
            f"{name}: its layers do not hand on what flash kernels must be told, so {implementation} would stay"
            " causal.\n  Use `attn_implementation: sdpa` or `eager`."
        )


def _wrap(implementation: str, *, required: bool) -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KERNELS
    from transformers.modeling_utils import AttentionInterface

    if implementation not in MASKS.valid_keys():
        if required:
            raise AttentionError(f"attention implementation {implementation!r} builds no mask that could be changed")
        return
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
        mode = MODE.get()
        if not mode.stock:
            kwargs["mask_function"] = mode.over(kwargs.get("mask_function", causal_mask_function))
            kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
        return original(*args, **kwargs)

    return mask


def _flash_mask(original: Callable[..., Any]) -> Callable[..., Any]:
    def mask(*args: Any, **kwargs: Any) -> Any:
        result, mode = original(*args, **kwargs), MODE.get()
        if mode.stock:
            return result
        if mode.document is not None:
            raise AttentionError("flash kernels cannot keep texts of one row apart here: use sdpa, or do not pack")
        import torch

        full = result is None
        if full:
            result = torch.ones(kwargs["batch_size"], kwargs["kv_length"], dtype=torch.bool, device=kwargs["device"])
        else:
            result = result.clone()  # the caller's own mask must not carry our mark
        setattr(result, _TAG, mode)
        setattr(result, _FULL, full)
        return result

    return mask


def _flash_kernel(original: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        mode: Mode | None = getattr(attention_mask, _TAG, None)
        if mode is not None:
            kwargs["is_causal"] = False
            if mode.window is not None:
                kwargs["sliding_window"] = min(mode.window, kwargs.get("sliding_window") or mode.window)
            attention_mask = None if getattr(attention_mask, _FULL) else attention_mask
        return original(module, query, key, value, attention_mask, *args, **kwargs)

    return kernel
