"""Where trained weights come from: what a path holds, and how it is read into a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ullme.assets import fetch
from ullme.errors import AssetError
from ullme.model.build import build_embedder
from ullme.model.embedder import Embedder
from ullme.model.storage import BACKBONE, CONFIG, load

TRAINED = "trained.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_EXPECTED = (
    "  Expected a model directory, as `ullme run` or `save` leave it, the output of a run, the trained.safetensors of a"
    "\n  stage, or a LoRA adapter as peft saves it."
)


@dataclass(frozen=True)
class Checkpoint:
    """What a path holds.

    `model`: a model directory; `run`: the output of a run; both say what the whole model is. `weights`: those that
    training changed; `adapter`: a folder or hub id of peft's. These two need a model to be read into.
    """

    kind: Literal["model", "run", "weights", "adapter"]
    path: str

    @property
    def whole(self) -> bool:
        """Whether it needs no other model."""
        return self.kind in ("model", "run")


def find_checkpoint(path: str | Path) -> Checkpoint:
    """What is at `path`. Raises AssetError when it is nothing that a model can be read from."""
    found = fetch(str(path))
    if isinstance(found, str):
        return Checkpoint("adapter", found)  # on the hub, adapters alone are checkpoints; models are loaded by name
    if found.is_file():
        if found.suffix == ".safetensors":
            return Checkpoint("weights", str(found))
        raise AssetError(f"checkpoint {found}: found a {found.suffix or 'plain'} file.\n{_EXPECTED}")
    if (found / CONFIG).is_file():
        if (found / BACKBONE).is_dir():
            return Checkpoint("model", str(found))
        exported = sorted(inner.parent for inner in found.glob(f"*/{BACKBONE}") if (inner.parent / CONFIG).is_file())
        return Checkpoint("model", str(exported[0])) if exported else Checkpoint("run", str(found))
    if (found / ADAPTER_CONFIG).is_file():
        return Checkpoint("adapter", str(found))
    if (found / TRAINED).is_file():
        return Checkpoint("weights", str(found / TRAINED))
    if (found / "config.json").is_file():
        raise AssetError(f"checkpoint {found}: a transformers model is no checkpoint: name it as model_name_or_path.")
    listed = ", ".join(sorted(inner.name for inner in found.iterdir())[:6]) or "nothing"
    raise AssetError(f"checkpoint {found}: found {listed}.\n{_EXPECTED}")


def load_whole(checkpoint: Checkpoint, device: str | None = None) -> Embedder:
    """The embedder of a model directory, or of a run whose stages are all trained."""
    if checkpoint.kind == "model":
        return load(Path(checkpoint.path), device)
    from ullme.config.load import load_pipeline

    folder = Path(checkpoint.path)
    pipeline = load_pipeline(folder / CONFIG)
    files = [folder / "stages" / f"{n}-{stage.name}" / TRAINED for n, stage in enumerate(pipeline.stages, 1)]
    lacking = [file for file in files if not (file.parent / "done.json").is_file()]
    if lacking or not files:
        what = f"stage {lacking[0].parent.name} is not trained yet" if lacking else "it has no stages"
        raise AssetError(f"run {folder}: {what}: there is no trained model in it.\n  `ullme run` the file first.")
    embedder = build_embedder(pipeline.model, seed=pipeline.seed, device=device)
    read_trained(embedder, files[-1])
    return embedder


def read_trained(embedder: Embedder, file: Path) -> None:
    """Read `trained.safetensors` into the model it belongs to: the same weights must be trainable there, no others.

    Raises AssetError naming what differs.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Any] = load_file(file)
    except (OSError, SafetensorError) as exc:
        raise AssetError(f"{file}: cannot be read: {exc}") from exc
    here = embedder.trainable()
    if wrong := set(weights) ^ set(here):
        hint = _about_adapters(weights, embedder)
        raise AssetError(f"{file}: the trained weights belong to another model (such as {sorted(wrong)[0]}).{hint}")
    for name, tensor in weights.items():
        if tensor.shape != here[name].shape:
            there, ours = list(tensor.shape), list(here[name].shape)
            rank = f"\n  It was trained with rank {min(there)}, this model has {min(ours)}." if ".lora_" in name else ""
            raise AssetError(f"{file}: {name}: expected shape {ours}, found {there}.{rank}")
    embedder.load_state_dict(weights, strict=False)


def _about_adapters(weights: dict[str, Any], embedder: Embedder) -> str:
    trained_one = any(".lora_" in name for name in weights)
    if trained_one and embedder.adapter is None:
        return "\n  They are those of a LoRA adapter, and this model has none."
    if not trained_one and embedder.adapter is not None:
        return "\n  All weights of a model were trained, and this one trains a LoRA adapter only."
    return ""
