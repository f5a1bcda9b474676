"""From a `model:` section to an Embedder: load, install attention, probe, adapt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ullme.errors import AttentionError, ConfigError
from ullme.model.adapters import adapt, as_read
from ullme.model.defaults import with_defaults
from ullme.model.draws import drawn_from
from ullme.model.embedder import Embedder, full_size
from ullme.model.probe import require
from ullme.plugins.blame import blamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ullme.config.schema import ModelConfig
    from ullme.config.slots import Choice, OnBuilt
    from ullme.interfaces import AttentionPatcher, Pooler
    from ullme.types import LoadedBackbone


def default_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_embedder(
    config: ModelConfig, *, seed: int = 0, device: str | None = None, on_built: OnBuilt | None = None
) -> Embedder:
    """The embedder that `config` describes, on `device` (a GPU where there is one), new weights drawn from `seed`.

    Raises AssetError for weights that cannot be had and AttentionError for a model that would not attend as asked.
    """
    told = on_built or (lambda kind, name, component: None)
    device = device or default_device()
    backbone = config.backbone.build()
    told("backbone", config.backbone.name, backbone)
    with blamed(config.backbone.who):
        loaded = backbone.load()
    config = with_defaults(config, loaded.defaults)
    _move(loaded, device)  # before the probe: some attention kernels exist on one device only
    modes = _modes(config, loaded, told)
    pooler: Pooler = config.pooler.build()
    told("pooler", config.pooler.name, pooler)
    adapter = adapt(loaded, config.adapter, seed)
    config = as_read(config, adapter)
    heads = []
    with drawn_from(seed):
        with blamed(config.pooler.who):
            pool = pooler.build(loaded.hidden_size)
        size = loaded.hidden_size
        for number, choice in enumerate(config.heads, 1):
            head = choice.build()
            told("head", choice.name, head)
            with blamed(choice.who):
                heads.append(head.build(size, loaded))
            made = head.out_size(size)
            _fits_without(choice, size, made, config.heads[number:])
            size = made
    if config.dimensions and config.dimensions > (full := full_size(config, loaded)):
        raise ConfigError(f"model.dimensions: expected at most {full}, found {config.dimensions}")
    layers, reads_positions = pooler.layers, pooler.reads_positions
    embedder = Embedder(config, loaded, modes, pool, adapter, heads, layers=layers, reads_positions=reads_positions)
    if adapter is not None and config.adapter is not None and config.adapter.path is not None:
        embedder.start = {name: tensor.clone() for name, tensor in adapter.state_dict().items() if ".lora_" in name}
    return embedder.to(device)


def _fits_without(choice: Choice, size: int, made: int, later: Sequence[Choice]) -> None:
    """A head of training alone must not change the length that a later one, which always acts, is made for."""
    kept = next((one.name for one in later if one.config.use_in == "always"), None)
    if choice.config.use_in == "training" and made != size and kept is not None:
        raise ConfigError(
            f"model.heads: {choice.name!r} acts in training only and makes vectors of {made} out of {size}, which"
            f" {kept!r} behind it would be given in training and not in use.\n  Put it last."
        )


def _move(loaded: LoadedBackbone, device: str) -> None:
    if loaded.quantised:
        return  # quantised weights are placed when they are loaded
    try:
        loaded.model.to(device)
    except (RuntimeError, AssertionError) as exc:  # torch has no better exception for a device that is not there
        raise ConfigError(f"device {device!r}: {str(exc).splitlines()[0]}") from exc


def _modes(config: ModelConfig, loaded: LoadedBackbone, told: OnBuilt) -> dict[str, AttentionPatcher]:
    """The attention modes, each installed and seen to hold."""
    modes: dict[str, AttentionPatcher] = {}
    wanted = {"embed": config.attention.embed}
    if loaded.head is not None:
        wanted["generate"] = config.attention.generate
    for name, choice in wanted.items():
        mode = modes[name] = choice.build()
        told("attention", choice.name, mode)
        with blamed(choice.who):
            mode.install(loaded)
            require(loaded, mode, choice.name)
        if mode.sees_future and loaded.symmetric_length is not None:
            _limit(loaded, config.max_tokens, choice.name)
    return modes


def _limit(loaded: LoadedBackbone, max_tokens: int, name: str) -> None:
    """Sparse attention chooses some of the past for each token: it is the whole text up to a length only."""
    limit = loaded.symmetric_length or 0
    if max_tokens > limit:
        raise AttentionError(
            f"{type(loaded.model).__name__}: its sparse attention reaches every token of texts of up to {limit} tokens"
            f" only; {name} attention over model.max_tokens {max_tokens} would leave some out.\n"
            f"  Set `max_tokens: {limit}` or less, or use `attention: causal`."
        )
    loaded.max_length = min(loaded.max_length, limit)
