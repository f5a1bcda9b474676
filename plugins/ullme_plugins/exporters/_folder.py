"""The part that every reader shares: merged weights, config and tokenizer in the root, and what ullme says of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme import ExportContext, ExportError, __version__, merged_weights, quiet_transformers
from ullme_plugins.exporters._plan import Plan, as_json
from ullme_plugins.exporters._tokenizer import write as write_tokenizer

if TYPE_CHECKING:
    from ullme import Embedder

ABOUT = "ullme.json"


def write_folder(
    embedder: Embedder, found: Plan, folder: Path, context: ExportContext, *, form: str, whole: bool
) -> list[str]:
    """Write weights (`whole`: with the language-model head), config, tokenizer, adapter/, reference and ullme.json.

    Returns what some readers would do otherwise, which ullme.json holds too.
    """
    from ullme_plugins.exporters._readers import caveats

    _write_weights(embedder, found, folder, context.dtype, whole)
    write_tokenizer(embedder, found.texts, folder)
    if embedder.adapter is not None:
        adapter: Any = embedder.adapter
        adapter.save_pretrained(folder / "adapter", save_embedding_layers=False)
        (folder / "adapter" / "README.md").unlink(missing_ok=True)  # peft's, with nothing filled in
    _write_reference(found, folder, context)
    told = caveats(embedder, found)
    section = embedder.config.model_copy(update={"template": embedder.template.config}).model_dump(mode="json")
    about = {
        "ullme": __version__,
        "form": form,
        "fingerprint": embedder.fingerprint(),
        "reading": as_json(found),
        "caveats": told,
        "model": section,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), "utf-8")
    return told


def _write_weights(embedder: Embedder, found: Plan, folder: Path, dtype: str | None, whole: bool) -> None:
    import torch

    weights = merged_weights(embedder, dtype=getattr(torch, dtype) if dtype else None, adapter=found.adapter)
    model: Any = embedder.loaded.model
    if not whole and (body := embedder.loaded.body) is not model:
        prefix = next(name for name, module in model.named_modules() if module is body) + "."
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        model = body
    if any(not bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point()):
        raise ExportError(f"some weights are not finite{f' in {dtype}' if dtype else ''}: choose another dtype")
    with quiet_transformers(warnings=False):
        model.save_pretrained(folder, state_dict={name: tensor.contiguous() for name, tensor in weights.items()})
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) | dict(found.attention.written)
    written = dtype or str(embedder.dtype).removeprefix("torch.")
    config |= {key: written for key in ("dtype", "torch_dtype") if key in config or key == "dtype"}
    file.write_text(json.dumps(config, indent=2), "utf-8")


def _write_reference(found: Plan, folder: Path, context: ExportContext) -> None:
    roles = {
        name: dataclasses.replace(role, prompt=found.texts.prompts[name])
        for name, role in context.reference.roles.items()
    }
    dataclasses.replace(context.reference, roles=roles).write(folder)


def about(folder: Path) -> dict[str, Any] | None:
    """What ullme.json says, or None."""
    try:
        found: dict[str, Any] = json.loads((folder / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found
