"""The folder that sentence-transformers, vLLM, text-embeddings-inference and llama.cpp's converter all read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme import AssetError, Exporter, quiet_transformers

if TYPE_CHECKING:
    import numpy as np

    from ullme import Embedder, ExportContext
    from ullme.model.reference import Encode
    from ullme_plugins.exporters._plan import Plan

_MODULES = "sentence_transformers.models"  # the names that every version and every server knows


class SentenceTransformersFolder(Exporter):
    """A folder for `SentenceTransformer(path)`: adapter merged, no code in it, the same vectors without ullme.

    Servers read it too; what one of them would do otherwise is said at export and stands in the card.
    """

    def export(self, embedder: Embedder, out_dir: Path, context: ExportContext) -> None:
        """Write the layout that the most programs read. Raises ExportError for what its modules cannot express."""
        from ullme_plugins.exporters._card import write_card
        from ullme_plugins.exporters._folder import write_folder
        from ullme_plugins.exporters._plan import plan

        found = plan(embedder)
        told = write_folder(embedder, found, out_dir, context, form="sentence-transformers", whole=False)
        for line in told:
            context.say(f"warning: {line}")
        _write_modules(found, out_dir)
        _write_settings(found, out_dir)
        write_card(embedder, found, out_dir, context, told, library="sentence-transformers")

    def reads(self, folder: Path) -> bool:
        """Whether modules.json is there."""
        return (folder / "modules.json").is_file()

    def read(self, folder: Path, device: str | None = None) -> Encode:
        """With sentence-transformers where it is installed, otherwise with transformers alone."""
        try:
            import sentence_transformers  # noqa: F401
        except ImportError:
            from ullme_plugins.exporters._reading import StockReader

            return StockReader(folder, device)
        return _read(folder, device)


def _read(folder: Path, device: str | None) -> Encode:
    from sentence_transformers import SentenceTransformer

    try:
        with quiet_transformers():
            model: Any = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise AssetError(
            f"{folder}: sentence-transformers cannot load it: {str(error).strip().splitlines()[0]}"
        ) from error
    of_role = {"query": model.encode_query, "document": model.encode_document}

    def encode(texts: Sequence[str], role: str) -> np.ndarray:
        name = role if role in model.prompts and role not in ("query", "document", "default") else None
        vectors: np.ndarray = of_role.get(role, model.encode)(
            list(texts), prompt_name=name, batch_size=8, show_progress_bar=False
        )
        return vectors.astype("float32")

    return encode


def _write_modules(found: Plan, folder: Path) -> None:
    """modules.json and one folder a module; pooling in both spellings, the newer one first asked for."""
    from safetensors.torch import save_file

    modules: list[dict[str, Any]] = [{"idx": 0, "name": "0", "path": "", "type": f"{_MODULES}.Transformer"}]

    def add(name: str, config: Mapping[str, Any]) -> Path:
        number = len(modules)
        path = f"{number}_{name}"
        modules.append({"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}.{name}"})
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
        return folder / path

    spelled = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
    add(
        "Pooling",
        {
            "word_embedding_dimension": found.hidden_size,
            "pooling_mode": found.pooling,
            **{key: how == found.pooling for key, how in spelled.items()},
            "include_prompt": found.include_prompt,
        },
    )
    from ullme_plugins.exporters._heads import described

    for layer, config in zip(found.layers, described(found.layers), strict=True):
        place = add("Dense", config)
        weights = {"linear.weight": layer.weight} | ({} if layer.bias is None else {"linear.bias": layer.bias})
        save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    if found.normalize:
        add("Normalize", {})
    (folder / "modules.json").write_text(json.dumps(modules, indent=2), "utf-8")


def _write_settings(found: Plan, folder: Path) -> None:
    settings: dict[str, Any] = {"max_seq_length": found.max_length, "do_lower_case": False}
    settings |= {f"{role}_length": length for role, length in found.lengths.items()}
    if found.model_kwargs:
        settings["model_kwargs"] = found.model_kwargs
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    about: dict[str, Any] = {
        "model_type": "SentenceTransformer",
        "prompts": found.prompts,
        "default_prompt_name": found.default_prompt,
        "similarity_fn_name": found.similarity,
    }
    if found.layers and found.truncated:
        about["truncate_dim"] = found.layers[-1].weight.shape[0]
    requirements = {"transformers": ">=5.2"} if found.attention.look_ahead else {}
    if found.lengths:
        requirements["sentence-transformers"] = ">=6"  # the first that knows a length of a role
    if requirements:
        about["requirements"] = requirements
    (folder / "config_sentence_transformers.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), "utf-8")
