"""A sentence-transformers folder, read as a `model:` section: which pooler, heads, prompts and lengths come with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ullme import AssetError, ConfigError, WeightFolder

_LOG = logging.getLogger(__name__)
_LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLERS: dict[str, Any] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean-sqrt-len",
    "weightedmean": {"use": "weighted-mean", "positions": "absolute"},
    "lasttoken": "last",
}
_SETTINGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
_KNOWN = {
    "max_seq_length",
    "do_lower_case",
    "query_length",
    "document_length",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "unpad_inputs",  # a matter of speed
    "model_kwargs",
    "model_args",
}


@dataclass
class Modules:
    """What the folder says beside the transformer's own files. `transformer` is that one's folder inside it."""

    transformer: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    pooler: Any = None
    include_prompt: bool = True
    heads: list[dict[str, Any]] = field(default_factory=list)
    normalize: bool = False
    dimensions: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    similarity: str = "cosine"

    @property
    def model_kwargs(self) -> dict[str, Any]:
        """What the folder asks for when the transformer is loaded."""
        found: dict[str, Any] = self.settings.get("model_kwargs") or self.settings.get("model_args") or {}
        return found


def read_modules(folder: WeightFolder, where: str, allow_pickle: bool) -> Modules | None:
    """The modules of `folder`; None if it has no modules.json. Raises ConfigError naming what cannot be taken over."""
    listed = _json(folder, "modules.json")
    if listed is None:
        return None
    made = Modules()
    for number, module in enumerate(listed):
        kind = str(module["type"]).rpartition(".")[2]
        if not str(module["type"]).startswith("sentence_transformers."):
            raise ConfigError(f"{where}: module {module['type']} is code of the model's own, which is not run")
        place, path = f"{where}: module {number} ({kind})", module["path"]
        config = (_json(folder, f"{path}/config.json") or {}) if path and kind != "Transformer" else {}
        if kind == "Transformer" and number == 0:
            made.transformer = path
            made.settings = _settings(folder, path, place)
        elif kind == "Pooling" and made.pooler is None:
            made.pooler, made.include_prompt = _pooling(config, place)
        elif kind == "Dense" and made.pooler is not None and not made.normalize:
            made.heads.append(_dense(config, f"{folder.local or where}/{path}", place, allow_pickle))
        elif kind == "Normalize" and number == len(listed) - 1:
            made.normalize = True
        elif kind != "Dropout":  # which does nothing in use
            raise ConfigError(
                f"{place} has no counterpart here, at least not in this place.\n  Taken over are one Transformer, one"
                " Pooling, any Dense, and Normalize at the end, in this order."
            )
    if made.pooler is None:
        raise ConfigError(f"{where}: no Pooling among its modules: what makes a vector of the states is missing")
    _about(folder, made, where)
    return made


def _settings(folder: WeightFolder, path: str, place: str) -> dict[str, Any]:
    found = [_json(folder, f"{path}/{name}" if path else name) for name in _SETTINGS]
    settings: dict[str, Any] = next((one for one in found if one), {})
    if unknown := sorted(key for key, value in settings.items() if key not in _KNOWN and value):
        raise ConfigError(f"{place}: its setting {unknown[0]!r} has no counterpart here")
    if settings.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise ConfigError(f"{place}: made for {settings['transformer_task']}, not for vectors")
    if "message" in (settings.get("modality_config") or {}):
        raise ConfigError(f"{place}: puts texts into a chat template: use the family's backbone with a `template:`")
    if foreign := sorted(set(settings.get("model_kwargs") or {}) - {"attn_implementation", "add_pooling_layer"}):
        raise ConfigError(f"{place}: its model_kwargs ask for {foreign[0]!r}, which has no counterpart here")
    return settings


def _pooling(config: Mapping[str, Any], place: str) -> tuple[Any, bool]:
    mode = config.get("pooling_mode")
    if mode is None:
        mode = [name for key, name in _LEGACY.items() if config.get(key)] or ["mean"]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) > 1:
        raise ConfigError(f"{place}: joins {' and '.join(modes)} to one long vector, which no pooler here does")
    if modes[0] not in POOLERS:
        raise ConfigError(f"{place}: pooling {modes[0]!r} has no counterpart here")
    return POOLERS[modes[0]], bool(config.get("include_prompt", True))


def _dense(config: Mapping[str, Any], path: str, place: str, allow_pickle: bool) -> dict[str, Any]:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = activation.rpartition(".")[2].lower()
    if not activation.startswith("torch.") or name not in ("identity", "tanh", "relu", "gelu"):
        raise ConfigError(f"{place}: activation {activation} has no counterpart here")
    if config.get("use_residual"):
        raise ConfigError(f"{place}: adds its input to its output, which no head here does")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ConfigError(f"{place}: works on {config[key]!r} instead of the pooled vector")
    return {
        "use": "dense",
        "out_features": config["out_features"],
        "bias": config.get("bias", True),
        "activation": name,
        "path": path,
        "allow_pickle": allow_pickle,
    }


def _about(folder: WeightFolder, made: Modules, where: str) -> None:
    about = _json(folder, "config_sentence_transformers.json") or {}
    kind = about.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ConfigError(f"{where}: a {kind}, which gives no single vector of a text")
    made.prompts = {name: text for name, text in (about.get("prompts") or {}).items() if text}
    default = about.get("default_prompt_name")
    if default is not None:
        text = (about.get("prompts") or {}).get(default, "")
        made.prompts = {name: text for name in ("default",) if text} | made.prompts
    similarity = about.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        _LOG.warning("%s: made for %s similarity; vectors are compared by cosine here", where, similarity)
        similarity = "cosine"
    made.similarity = similarity
    made.dimensions = about.get("truncate_dim")


def _json(folder: WeightFolder, name: str) -> Any:
    file = folder.file(name)
    if file is None:
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{file}: expected JSON: {error}") from error
