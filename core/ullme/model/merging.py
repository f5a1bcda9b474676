"""Weights with the adapter folded in, without touching the model that trains with it (peft does the arithmetic)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ullme.errors import ConfigError

if TYPE_CHECKING:
    from ullme.model.embedder import Embedder


def merged_weights(
    embedder: Embedder, *, dtype: torch.dtype | None = None, adapter: str | None = None
) -> dict[str, Tensor]:
    """The state dict of `embedder.loaded.model` as it would be without an adapter, the active one folded in.

    Every method that peft can merge is served (LoRA, DoRA, rsLoRA, adapted embeddings, whole modules saved beside the
    adapter). Folding happens in fp32, layer by layer on copies, and is rounded once, to `dtype` or the weight's own.
    `adapter` names one of several adapters (`adapter.tasks`). Folded weights are on the CPU, the others where they are.
    Raises ConfigError for weights that cannot take an adapter in: quantised ones, and tied ones that would come apart.
    """
    model = embedder.loaded.model
    if embedder.loaded.quantised:
        raise ConfigError(
            "quantised weights cannot take an adapter in: load the base with `quantization: null`, give the trained"
            " adapter as `adapter: {path: ...}`, and merge that"
        )
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    with embedder.routed(adapter), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft tells of layers that it merges rightly
        for name, module in _adapted(model):
            _refuse_untied(model, name, module)
            for key in [key for key in weights if key.startswith(f"{name}.")]:
                del weights[key]
            for key, tensor in _folded(module).state_dict().items():
                weights[f"{name}.{key}"] = tensor.detach()
    kept = _dtypes(model)
    return {
        name: tensor.to(dtype or kept.get(name, tensor.dtype)) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


def _adapted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that peft has put in the place of the model's own."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    inside = ""
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            inside = f"{name}."
            yield name, module


def _folded(module: Any) -> nn.Module:
    """The model's own module with the adapter in its weights: a copy in fp32."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    own = copy.deepcopy(module).cpu().float()
    if isinstance(own, BaseTunerLayer):
        if not own.merged:
            own.merge(safe_merge=True)  # refuses weights that are not finite
        folded: nn.Module = own.get_base_layer()
        return folded
    return own.unload_and_optionally_merge_module(  # type: ignore[no-any-return]
        merge=True, safe_merge=True, adapter_names=None
    )


def _dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """The dtype of every weight under the name that it has without an adapter."""
    names = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
        for name, tensor in model.state_dict().items()
    }
    return {name: tensor.dtype for name, tensor in names.items()}


def _refuse_untied(model: Any, name: str, module: nn.Module) -> None:
    """An adapted embedding that is also the head: folded, the one weight would have to be two."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    if (
        getattr(model.config, "tie_word_embeddings", False)
        and any(module is end for end in ends)
        and ends[1] is not None
    ):
        raise ConfigError(
            f"{name} is adapted and tied to the model's other end: one weight cannot hold both after folding."
            "\n  Leave it out of `adapter.targets`, or keep the adapter (the `ullme` format does)."
        )
