"""The `adapter:` section: which weights train, which trained ones are folded in or continued. peft does the work."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ullme.assets import fetch
from ullme.errors import AssetError, ConfigError
from ullme.model.draws import drawn_from
from ullme.model.switches import HALF
from ullme.types import LoadedBackbone

if TYPE_CHECKING:
    from ullme.config.schema import AdapterConfig, ModelConfig

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


def adapt(loaded: LoadedBackbone, config: AdapterConfig | None, seed: int) -> nn.Module | None:
    """Fold in what is to be merged, then inject what is to be trained; None where the model's own weights train.

    New adapter weights are fp32 whatever the base's dtype, and depend on `seed` alone. Raises ConfigError for targets
    that match nothing and AssetError for a trained adapter that cannot be read or does not fit.
    """
    if config is None:
        return None
    for path in config.merge:
        _fold(loaded, path)
    if config.method == "bitfit":
        _only_biases(loaded)
    if config.method in ("bitfit", "full"):
        return None
    with drawn_from(seed):
        return _inject(loaded, config)


def as_read(config: ModelConfig, adapter: nn.Module | None) -> ModelConfig:
    """`config` with what a trained adapter says of itself, where `adapter.path` named one."""
    if adapter is None or config.adapter is None or config.adapter.path is None:
        return config
    held: Any = adapter
    lora = next(iter(held.peft_config.values()))
    method = "dora" if lora.use_dora else "rslora" if lora.use_rslora else "lora"
    found = {"method": method, "r": lora.r, "alpha": float(lora.lora_alpha), "dropout": lora.lora_dropout}
    return config.model_copy(update={"adapter": config.adapter.model_copy(update=found)})


def _inject(loaded: LoadedBackbone, config: AdapterConfig) -> nn.Module:
    adapted: Any = None
    _tell_apart(loaded.model, config.tasks)
    for name in config.tasks or ["default"]:
        folder = None if config.path is None else _folder(config.path, name if config.tasks else "")
        lora, weights = _new(loaded, config) if folder is None else _read(folder, loaded)
        if "dropout" in config.model_fields_set:
            lora.lora_dropout = config.dropout  # of training, not of the weights: theirs holds unless one is given
        try:
            with _quiet():
                if adapted is None:
                    from peft import get_peft_model

                    adapted = get_peft_model(loaded.model, lora, adapter_name=name)
                else:
                    adapted.add_adapter(name, lora)
        except ValueError as exc:
            raise ConfigError(f"model.adapter.targets {config.targets!r}: {str(exc).splitlines()[0]}") from exc
        if folder is not None:
            _fill(adapted, weights, name, folder)
    if config.tasks:
        adapted.set_adapter(config.route.get("default", config.tasks[0]))  # acts wherever nothing chooses another
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(".lora_" in name)  # peft lets the active adapter alone train
    base: Any = loaded.model
    leave_inputs_to_autocast(adapted, base.dtype)
    return adapted  # type: ignore[no-any-return]


def leave_inputs_to_autocast(module: nn.Module, dtype: torch.dtype) -> None:
    """On a base in half precision autocast does what peft's own cast does, without an fp32 copy of every activation."""
    layers: list[Any] = [layer for layer in module.modules() if hasattr(layer, "cast_input_dtype_enabled")]
    for layer in layers:
        layer.cast_input_dtype_enabled = dtype not in HALF


def _new(loaded: LoadedBackbone, config: AdapterConfig) -> tuple[Any, dict[str, Tensor]]:
    """An untrained adapter: LoRA (arXiv:2106.09685), DoRA (arXiv:2402.09353) or rsLoRA (arXiv:2312.03732)."""
    from peft import LoraConfig

    targets = loaded.lora_targets if config.targets == "all-linear" else config.targets
    if not isinstance(targets, str):
        _match_all(loaded.model, targets)
    made = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # peft multiplies by it, a fraction is fine
        lora_dropout=config.dropout,
        target_modules=targets,
        use_dora=config.method == "dora",
        use_rslora=config.method == "rslora",
    )
    return made, {}


def _tell_apart(model: nn.Module, tasks: Sequence[str]) -> None:
    """peft finds an adapter's weights by its name in theirs: one that the model uses itself would be saved wrongly."""
    used = {part for name, _ in model.named_modules() for part in name.split(".")}
    for name in tasks:
        if name in used:
            raise ConfigError(
                f"model.adapter.tasks: {name!r} is also the name of a layer of {type(model).__name__}, from which peft"
                f" would not tell the adapter's weights apart.\n  Call it otherwise, such as `{name}-task`."
            )


def _match_all(model: nn.Module, targets: Sequence[str]) -> None:
    """peft is content when one of several names matches; a misspelt one would silently train less."""
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            linear = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
            raise ConfigError(
                f"model.adapter.targets: {target!r} matches no layer of {type(model).__name__}."
                f"\n  Its linear layers: {', '.join(linear)}"
            )


def _only_biases(loaded: LoadedBackbone) -> None:
    """BitFit (arXiv:2106.10199), as SGPT trains."""
    biases = 0
    for name, parameter in loaded.model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
        biases += name.endswith("bias")
    if not biases:
        raise ConfigError(
            f"model.adapter.method: bitfit trains biases, of which {type(loaded.model).__name__} has none."
            "\n  Use `method: lora`."
        )


def _fold(loaded: LoadedBackbone, path: str) -> None:
    """Add a trained adapter to the weights for good."""
    from peft import get_peft_model

    if loaded.quantised:
        raise ConfigError("model.adapter.merge: quantised weights cannot take an adapter in; load them unquantised")
    folder = _folder(path, "")
    lora, weights = _read(folder, loaded)
    with _quiet():
        adapted: Any = get_peft_model(loaded.model, lora)
        _fill(adapted, weights, "default", folder)
        adapted.merge_and_unload()
    loaded.model.requires_grad_(True)


def _folder(path: str, name: str) -> Path:
    """The local folder of a trained adapter; one on the hub is downloaded, its adapter files only."""
    found = fetch(path)
    if isinstance(found, str):
        from huggingface_hub import snapshot_download

        try:
            found = Path(snapshot_download(found, allow_patterns=["*adapter_config.json", f"*{WEIGHTS}"]))
        except (OSError, ValueError) as exc:
            raise AssetError(f"adapter {path}: {str(exc).strip().splitlines()[0]}") from exc
    folder = found / name if name else found
    for file in ("adapter_config.json", WEIGHTS):
        if not (folder / file).is_file():
            pickle = " (pickle weights are not read)" if (folder / "adapter_model.bin").is_file() else ""
            raise AssetError(f"adapter {folder}: no {file} there{pickle}; expected what peft's save_pretrained writes")
    return folder


def _read(folder: Path, loaded: LoadedBackbone) -> tuple[Any, dict[str, Tensor]]:
    """An adapter's config and weights, renamed where it was trained on the model without its head."""
    from peft import LoraConfig, PeftConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        lora = PeftConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as exc:
        raise AssetError(f"adapter {folder}: cannot be read: {str(exc).strip().splitlines()[0]}") from exc
    if not isinstance(lora, LoraConfig):
        raise AssetError(f"adapter {folder}: found a {lora.peft_type} adapter; LoRA, DoRA and rsLoRA are read")
    lora.task_type = lora.base_model_name_or_path = None
    lora.inference_mode = False
    lora.init_lora_weights = True  # its weights are read; an initialisation that rewrites the base must not run
    body = next(name for name, module in loaded.model.named_modules() if module is loaded.body)
    renamed = {}
    for key, tensor in weights.items():
        if ".lora_" not in key:
            raise AssetError(
                f"adapter {folder}: its weight {key} is that of a whole layer (`modules_to_save` or `bias` there);"
                "\n  only low-rank weights are read. Merge it with peft, and give the result as backbone.path."
            )
        inner = key.removeprefix(_PREFIX)
        layer = re.split(r"\.lora_", inner)[0]
        prefix = next((p for p in ("", f"{body}." if body else "") if _has(loaded.model, p + layer)), None)
        if prefix is None:
            raise AssetError(
                f"adapter {folder}: its weight {key} fits no layer of {type(loaded.model).__name__}: it was trained on"
                " another model"
            )
        renamed[f"{_PREFIX}{prefix}{inner}"] = tensor
    return lora, renamed


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _fill(adapted: nn.Module, weights: dict[str, Tensor], name: str, folder: Path) -> None:
    """Every adapter weight from the file, and every weight of the file into the adapter."""
    from peft import set_peft_model_state_dict

    try:
        result = set_peft_model_state_dict(adapted, weights, adapter_name=name)
    except RuntimeError as exc:
        raise AssetError(f"adapter {folder}: {str(exc).strip().splitlines()[-1].strip()}") from exc
    missing = [
        key for key in result.missing_keys if ".lora_" in key and (f".{name}." in key or key.endswith(f".{name}"))
    ]
    wrong = [*missing, *result.unexpected_keys]
    if wrong:
        raise AssetError(f"adapter {folder}: {len(wrong)} weights do not fit the model (such as {wrong[0]})")


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks the model questions by their old names and tells of layers that it handles rightly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        yield
