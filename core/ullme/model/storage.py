"""A model directory: what is written, and how it is read back.

ullme.yaml       the `model:` section, with its backbone pointing beside it
plugins.lock     the plugins it was made with
backbone/        the base weights (safetensors), config and tokenizer
adapter/         LoRA weights, if any
pooler.safetensors   weights of a pooler that has some
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ullme.errors import AssetError
from ullme.model.build import build_embedder
from ullme.model.embedder import Embedder

CONFIG, LOCK, BACKBONE, ADAPTER, POOLER = "ullme.yaml", "plugins.lock", "backbone", "adapter", "pooler.safetensors"


def save(embedder: Embedder, path: Path) -> None:
    """Write `embedder` to `path`, a new or empty directory."""
    from safetensors.torch import save_file

    from ullme.config.load import dump_yaml
    from ullme.config.slots import choices
    from ullme.plugins import lock

    path.mkdir(parents=True, exist_ok=True)
    config = embedder.config.model_copy(update={"template": embedder.template.config})
    section = config.model_dump(mode="json")
    section["backbone"] |= {"path": BACKBONE, "parts": [], "sha256": None, "revision": None, "trust_remote_code": False}
    (path / CONFIG).write_text(dump_yaml({"model": section}), "utf-8")
    lock.snapshot([choice.record for choice in choices(config)]).write(path / LOCK)
    model: Any = embedder.loaded.model
    with _no_bars():
        model.save_pretrained(path / BACKBONE, state_dict=_base_weights(model))
    embedder.loaded.tokenizer.save_pretrained(path / BACKBONE)
    if embedder.adapter is not None:
        adapter: Any = embedder.adapter
        adapter.save_pretrained(path / ADAPTER, save_embedding_layers=False)
    if isinstance(embedder.pooler, nn.Module) and embedder.pooler.state_dict():
        save_file(embedder.pooler.state_dict(), path / POOLER)


def load(path: Path, device: str | None = None) -> Embedder:
    """The embedder in `path`, in evaluation mode. Code that came with the weights is never run."""
    from peft import set_peft_model_state_dict

    from ullme.config.load import load_model

    if not (path / CONFIG).is_file():
        raise AssetError(
            f"{path}: no {CONFIG} there: expected a model directory, as `ullme run` leaves in OUTPUT/model"
        )
    if not (path / BACKBONE).is_dir():
        hint = f"; the model of this run is in {path / 'model'}" if (path / "model" / BACKBONE).is_dir() else ""
        raise AssetError(f"{path}: no {BACKBONE}/ there: expected a model directory{hint}")
    here = {"backbone": {"path": str(path / BACKBONE), "trust_remote_code": False}}
    embedder = build_embedder(load_model(path / CONFIG, here), device=device)
    if embedder.adapter is not None:
        file = path / ADAPTER / "adapter_model.safetensors"
        result = set_peft_model_state_dict(embedder.adapter, _read(file))
        wrong = [*(key for key in result.missing_keys if "lora_" in key), *result.unexpected_keys]
        if wrong:
            raise AssetError(f"{file}: {len(wrong)} weights do not fit the model (such as {wrong[0]})")
    if isinstance(embedder.pooler, nn.Module) and embedder.pooler.state_dict():
        embedder.pooler.load_state_dict(_read(path / POOLER))
    return embedder.eval()


def _read(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(file)
        return weights
    except (OSError, SafetensorError) as exc:
        raise AssetError(f"{file}: cannot be read: {exc}") from exc


@contextmanager
def _no_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _base_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights without the adapter that peft has injected among them."""
    return {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
