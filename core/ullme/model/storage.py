"""A model directory: what is written, and how it is read back.

ullme.yaml       the `model:` section, with its backbone pointing beside it
plugins.lock     the plugins it was made with
backbone/        the base weights (safetensors), config and tokenizer
adapter/         LoRA weights, if any; one folder a task where there are several
pooler.safetensors   weights of a pooler that has some
heads.safetensors    weights of heads that have some
reference_embeddings.json   fixed texts and their vectors, to check any copy by
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ullme.errors import AssetError, OutputError
from ullme.model.build import build_embedder
from ullme.model.embedder import Embedder
from ullme.model.faithful import require_faithful
from ullme.model.merging import merged_weights
from ullme.model.quiet import quiet_transformers
from ullme.model.reference import reference

CONFIG, LOCK, BACKBONE, ADAPTER = "ullme.yaml", "plugins.lock", "backbone", "adapter"
PARTS = {"pooler": "pooler.safetensors", "heads": "heads.safetensors"}


def save(embedder: Embedder, path: Path, *, merged: bool = False, check: bool = True) -> None:
    """Write `embedder` to `path`, a new or empty directory, or an older model directory that it replaces.

    The directory appears when it is whole and, with `check`, read back and found to give the same vectors; otherwise
    ExportError is raised. `merged` folds the adapter into the weights.
    """
    from ullme.atomic import atomic_dir

    if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).is_file():
        raise OutputError(f"{path}: a folder of something else is there; name a new or empty one")
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with atomic_dir(path) as folder:
        wanted = reference(embedder)
        wanted.write(folder)
        _write(embedder, folder, merged)
        if check:
            copy = load(folder, str(embedder.device))
            require_faithful(lambda texts, role: copy.encode(texts, role=role), wanted, embedder, path)


def _write(embedder: Embedder, path: Path, merged: bool) -> None:
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import save_file

    from ullme.config.load import dump_yaml
    from ullme.config.slots import choices
    from ullme.plugins import lock

    config = embedder.config.model_copy(update={"template": embedder.template.config})
    section = config.model_dump(mode="json")
    section["backbone"] |= {"path": BACKBONE, "parts": [], "sha256": None, "revision": None, "trust_remote_code": False}
    adapted = embedder.adapter is not None and not merged
    if adapted:
        section["adapter"] |= {"path": ADAPTER, "merge": []}  # what was merged is in the weights
    elif merged:
        section["adapter"] = None
    elif section["adapter"] is not None:
        section["adapter"] |= {"merge": []}
    for part in (section["pooler"], *section["heads"]):
        part |= {key: None for key in ("path", "revision") if key in part}  # their weights are written here
    (path / CONFIG).write_text(dump_yaml({"model": section}), "utf-8")
    lock.snapshot([choice.record for choice in choices(config)]).write(path / LOCK)
    model: Any = embedder.loaded.model
    with quiet_transformers(warnings=False):
        weights = merged_weights(embedder) if merged else _base_weights(model)
        if embedder.loaded.quantised:  # `save_pretrained` writes what it finds itself, the adapter's layers among it
            model.config.save_pretrained(path / BACKBONE)
            save_torch_state_dict(weights, path / BACKBONE)
        else:
            model.save_pretrained(path / BACKBONE, state_dict=weights)
    embedder.loaded.tokenizer.save_pretrained(path / BACKBONE)
    if adapted:
        adapter: Any = embedder.adapter
        adapter.save_pretrained(path / ADAPTER, save_embedding_layers=False)
    for name, file in PARTS.items():
        part = getattr(embedder, name)
        if isinstance(part, nn.Module) and part.state_dict():
            save_file(part.state_dict(), path / file)


def load(path: Path, device: str | None = None) -> Embedder:
    """The embedder in `path`, in evaluation mode. Code that came with the weights is never run."""
    from ullme.config.load import load_model

    if not (path / CONFIG).is_file():
        raise AssetError(
            f"{path}: no {CONFIG} there: expected a model directory, as `ullme run` leaves in OUTPUT/model"
        )
    if not (path / BACKBONE).is_dir():
        hint = f"; the model of this run is in {path / 'model'}" if (path / "model" / BACKBONE).is_dir() else ""
        raise AssetError(f"{path}: no {BACKBONE}/ there: expected a model directory{hint}")
    config = load_model(path / CONFIG, {"backbone": {"path": str(path / BACKBONE), "trust_remote_code": False}})
    if config.adapter is not None and config.adapter.path is not None:
        adapter = config.adapter.model_copy(update={"path": str(path / ADAPTER)})
        config = config.model_copy(update={"adapter": adapter})
    embedder = build_embedder(config, device=device)
    embedder.start = None  # its adapter is what was trained: the reference is the base beside it
    for name, file in PARTS.items():
        part = getattr(embedder, name)
        if isinstance(part, nn.Module) and part.state_dict():
            _fill(part, path / file)
    return embedder.eval()


def _fill(part: nn.Module, file: Path) -> None:
    try:
        part.load_state_dict(_read(file))
    except RuntimeError as exc:
        raise AssetError(f"{file}: does not fit the model: {str(exc).splitlines()[-1].strip()}") from exc


def _read(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(file)
        return weights
    except (OSError, SafetensorError) as exc:
        raise AssetError(f"{file}: cannot be read: {exc}") from exc


def _base_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights without the adapter that peft has injected among them."""
    return {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
