"""What the machine at hand computes fastest: the dtype it has instructions for, the library for its matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ullme.errors import ConfigError
from ullme.types import DTYPES


@cache
def capabilities() -> Mapping[str, Any]:
    """What torch knows of this CPU (`avx512_bf16`, `amx_bf16`, `cpu_name` ...); empty where it cannot tell."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else {}


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16 products; elsewhere they are emulated, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_properties(device).major >= 8) or torch.version.hip is not None
    if device.type == "cpu":
        return any(capabilities().get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16"))
    return device.type == "xpu"


def dtype_for(name: str, device: torch.device) -> torch.dtype:
    """The dtype that `name` (one of `DTYPES`) means there: `auto` is bfloat16 where it is native, else float32."""
    if name not in DTYPES:
        raise ConfigError(f"dtype {name!r}: expected one of {', '.join(DTYPES)}")
    if name == "auto":
        return torch.bfloat16 if computes_bfloat16(device) else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def onednn_is_faster() -> bool:
    """MKL computes float32 products with AVX2 alone on an AMD processor; oneDNN uses the AVX-512 that it has.

    Twice as fast there (docs/benchmarks.md), and as exact. A fact of the processor, not a timing: results repeat.
    """
    found = capabilities()
    vendor = str(found.get("cpu_name", ""))
    return "AMD" in vendor and bool(found.get("avx512_f")) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_LIBRARY = torch.library.Library("ullme", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")  # type: ignore[no-untyped-call]


@torch.library.impl(_LIBRARY, "linear", "CPU")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., i], weight [o, i] -> [..., o], by oneDNN.

    An op of ours, because the compiler accepts oneDNN's own only with weights that it has packed itself.
    """
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]


@torch.library.impl(_LIBRARY, "linear", "Meta")
def _linear_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


class OneDNN(TorchFunctionMode):
    """float32 linear layers of this thread compute with oneDNN inside, whoever calls them. Without gradient only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Reroute `torch.nn.functional.linear`; everything else is as it was."""
        kwargs = kwargs or {}
        if func is nn.functional.linear:
            return _product(*args, **kwargs)
        return func(*args, **kwargs)


def _product(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(input, weight, bias)
    if torch.compiler.is_compiling():
        return torch.ops.ullme.linear(input, weight, bias)  # type: ignore[no-any-return]
    return _linear(input, weight, bias)


def fast_products(device: torch.device) -> AbstractContextManager[Any]:
    """The fastest matrix products of `device` for calls of this thread inside."""
    return OneDNN() if device.type == "cpu" and onednn_is_faster() else nullcontext()
