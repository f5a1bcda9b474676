"""The same model in another precision or on other devices."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ullme.errors import ConfigError
from ullme.model.adapters import leave_inputs_to_autocast

if TYPE_CHECKING:
    from ullme.model.embedder import Embedder

MOST = 16
"""Threads that share a model: with more of them the interpreter, which they share too, is what they wait for."""


def cast(embedder: Embedder, dtype: torch.dtype) -> None:
    """Turn the model's weights into `dtype`, in place. Adapters, pooler and heads stay fp32, and so do buffers.

    A buffer such as rotary frequencies is fp32 in a model loaded in half precision; `Module.to` would round it.
    Raises ConfigError for quantised weights.
    """
    model: Any = embedder.loaded.model
    if embedder.loaded.quantised:
        raise ConfigError("dtype: quantised weights compute in the precision that they were made for; leave dtype out")
    kept = [
        *(getattr(model, "_keep_in_fp32_modules", None) or ()),
        *(getattr(model, "_keep_in_fp32_modules_strict", None) or ()),
    ]
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or ".lora_" in name or any(part in name.split(".") for part in kept):
            continue
        parameter.data = parameter.data.to(dtype)
    leave_inputs_to_autocast(embedder, dtype)


def replicate(embedder: Embedder, device: torch.device, dtype: torch.dtype | None) -> Embedder:
    """A copy on `device` in `dtype`; the embedder itself where nothing differs. Template and config are shared.

    Raises ConfigError when the copy does not give the same vectors.
    """
    same = device == embedder.device
    if same and (dtype is None or dtype == embedder.dtype):
        return embedder
    shared = (embedder.template, embedder.config, embedder.loaded.tokenizer)
    made: Embedder = copy.deepcopy(embedder, {id(part): part for part in shared})
    try:
        made.to(device)
    except (RuntimeError, AssertionError) as exc:
        raise ConfigError(f"device {str(device)!r}: {str(exc).splitlines()[0]}") from exc
    _check(embedder, made)
    if dtype is not None:
        cast(made, dtype)
    return made


def _check(embedder: Embedder, made: Embedder) -> None:
    """What a family keeps outside of modules (a closure, say) a copy would share with the original."""
    from ullme.model.embedder import VectorCall

    call = VectorCall(embedder.template.embed(["a copy must give what the original gives"], "document"))
    with torch.no_grad(), embedder.evaluating(), made.evaluating():
        a, b = (model(call).cpu() for model in (embedder, made))
    cosine = nn.functional.cosine_similarity(a, b).item()
    if not cosine > 0.99:
        raise ConfigError(
            f"{type(embedder.loaded.model).__name__}: its copy on {made.device} gives other vectors (cosine"
            f" {cosine:.3f}); encode on {embedder.device}, in {embedder.dtype}"
        )


def devices_of(names: Sequence[str] | None, embedder: Embedder) -> list[torch.device]:
    """The devices that `names` stand for. For None the embedder's own: a GPU once, a CPU for each of torch's threads.

    Raises ConfigError for a name that is none.
    """
    if names is None:
        alone = embedder.device.type != "cpu" or changes_while_it_runs(embedder.loaded.model)
        return [embedder.device] * (1 if alone else min(torch.get_num_threads(), MOST))
    if not names:
        raise ConfigError("devices: expected at least one, found an empty list")
    found = []
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError as exc:
            raise ConfigError(f"device {name!r}: {str(exc).splitlines()[0]}") from exc
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_available() else 0)
        found.append(device)
    if len(set(found)) < len(found) and changes_while_it_runs(embedder.loaded.model):
        raise ConfigError(
            f"devices: {type(embedder.loaded.model).__name__} changes its rotary frequencies with the length of a text,"
            " so calls cannot share it; name each device once"
        )
    return found


def changes_while_it_runs(model: nn.Module) -> bool:
    """Whether a call writes into the model, as transformers' `dynamic` and `longrope` frequencies do."""
    kinds = [str(getattr(module, "rope_type", "")) for module in model.modules()]
    return any("dynamic" in kind or "longrope" in kind for kind in kinds)
