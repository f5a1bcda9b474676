"""From a `model:` section to an Embedder: load, install attention, probe, adapt."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

from ullme.errors import ConfigError
from ullme.model.embedder import HALF, Embedder
from ullme.model.probe import require
from ullme.plugins.blame import blamed

if TYPE_CHECKING:
    from ullme.config.schema import AdapterConfig, ModelConfig
    from ullme.config.slots import OnBuilt
    from ullme.types import LoadedBackbone


def default_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_embedder(
    config: ModelConfig, *, seed: int = 0, device: str | None = None, on_built: OnBuilt | None = None
) -> Embedder:
    """The embedder that `config` describes, on `device` (a GPU where there is one), adapters initialised from `seed`.

    Raises AssetError for weights that cannot be had and AttentionError for a model that would not attend as asked.
    """
    told = on_built or (lambda kind, name, component: None)
    device = device or default_device()
    backbone = config.backbone.build()
    told("backbone", config.backbone.name, backbone)
    with blamed(config.backbone.who):
        loaded = backbone.load()
    _move(loaded, device)  # before the probe: some attention kernels exist on one device only
    modes = {}
    wanted = {"embed": config.attention.embed}
    if loaded.head is not None:
        wanted["generate"] = config.attention.generate
    for name, choice in wanted.items():
        modes[name] = choice.build()
        told("attention", choice.name, modes[name])
        with blamed(choice.who):
            modes[name].install(loaded)
            require(loaded, modes[name], choice.name)
    if config.dimensions and config.dimensions > loaded.hidden_size:
        raise ConfigError(f"model.dimensions: expected at most {loaded.hidden_size}, found {config.dimensions}")
    pooler = config.pooler.build()
    told("pooler", config.pooler.name, pooler)
    adapter = None if config.adapter is None else _adapted(loaded, config.adapter, seed)
    return Embedder(config, loaded, modes, pooler.build(loaded.hidden_size), adapter).to(device)


def _move(loaded: LoadedBackbone, device: str) -> None:
    try:
        loaded.model.to(device)
    except (RuntimeError, AssertionError) as exc:  # torch has no better exception for a device that is not there
        raise ConfigError(f"device {device!r}: {str(exc).splitlines()[0]}") from exc


def _adapted(loaded: LoadedBackbone, config: AdapterConfig, seed: int) -> nn.Module:
    """The model with LoRA injected. Adapter weights are fp32 whatever the base's dtype (arXiv:2106.09685)."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    targets = loaded.lora_targets if config.targets == "all-linear" else config.targets
    lora = LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=targets)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks the model a question by its old name
            adapted: nn.Module = get_peft_model(loaded.model, lora)
    except ValueError as exc:
        raise ConfigError(f"model.adapter.targets {config.targets!r}: {str(exc).splitlines()[0]}") from exc
    finally:
        torch.set_rng_state(state)
    if loaded.model.dtype in HALF:
        for module in adapted.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = False  # autocast does it, without a copy of every activation in fp32
    return adapted
