"""Any model that transformers can build: by the backbone of its family where there is one, else as it stands.

A family without a backbone of its own is read with what holds for most: the head is checked against the model's own
logits, and the probe asks every layer what it attends to. What is known to go wrong is refused here, with the reason.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ullme import Backbone, ConfigError, LoadedBackbone
from ullme_plugins.backbones import _families, _logits
from ullme_plugins.backbones._hf import Decoder, Encoder, HuggingFace
from ullme_plugins.backbones._source import Source

if TYPE_CHECKING:
    from torch import Tensor, nn

_LOG = logging.getLogger(__name__)
_CAUSAL = "\n  Use `attention: causal` with `pooler: last`, or another backbone."

REFUSED = {
    "openai-gpt": "each of its layers holds a causal mask that no mask from outside can lift." + _CAUSAL,
    "deepseek_v4": "its compressed attention summarises blocks counted from the left, padding included." + _CAUSAL,
    "rwkv": "it is recurrent: no layer attends, every state reads from left to right." + _CAUSAL,
    "xlstm": "it is recurrent: no layer attends, every state reads from left to right." + _CAUSAL,
}
"""Model types that must not look ahead, by reason."""

CARRIED = {
    "deepseek_v4": ("DeepseekV4Attention",),
    "rwkv": ("RwkvSelfAttention",),
    "xlstm": ("xLSTMBlock",),
}
"""What reads from the left, padding too, in models that no config and no convolution gives away."""


_SAID: set[str] = set()


def _say(message: str) -> None:
    """On stderr, once a process."""
    if message not in _SAID:
        _SAID.add(message)
        _LOG.warning(message)


class _Generic(HuggingFace):
    """What is known of families that have no file of their own."""

    def check_family(self, found: str, source: Source) -> None:
        """Any is welcome."""

    def recurrent(self, body: Any) -> tuple[str, ...]:
        """What is found in the model, or known of it."""
        return super().recurrent(body) or CARRIED.get(body.config.model_type, ())

    def refusal(self, body: Any) -> str | None:
        """What is known to go wrong."""
        kind = body.config.model_type
        if kind in REFUSED:
            return REFUSED[kind]
        if kind == "xmod" and body.config.default_language is None:
            return "it has layers for each language, and its config names none: set `default_language` there."
        if getattr(body.config, "alibi", False) or getattr(body.config, "use_alibi", False):
            return (
                "its linear biases (ALiBi) would favour the end of the text, and no patch for them is known." + _CAUSAL
            )
        if self.recurrent(body) and not _attends(body):
            return "it is recurrent: no layer attends, every state reads from left to right." + _CAUSAL
        return None

    def symmetric_length(self, config: Any) -> int | None:
        """Where sparse attention is the whole attention."""
        # An indexer of blocks (minimax_m3) never chooses one that begins later, whatever the mask: one block is whole.
        return getattr(config, "index_block_size", None) or getattr(config, "index_topk", None)


class _AnyDecoder(_Generic, Decoder):
    """A language model as transformers has it."""

    def describe(self, model: "nn.Module", tokenizer: Any) -> LoadedBackbone:
        """Its parts, with the treatment of logits under which head(body) is what the model gives, or without head."""
        loaded = super().describe(model, tokenizer)
        if loaded.head is not None:
            found = _matching(loaded)
            if not found:
                _say(f"auto: {type(model).__name__}: head(body) is not what the model gives: vectors, no likelihoods")
                loaded.head = None
            else:
                (loaded.logits,) = found
        return loaded


class _AnyEncoder(_Generic, Encoder):
    """An encoder as transformers has it."""


class Auto(Backbone):
    """Any language model or encoder of transformers that the probe accepts: by its family's backbone, or as it is."""

    class Config(Backbone.Config):
        kind: Literal["decoder", "encoder"] | None = Field(
            None, description="what to read a model without a backbone of its own as; by its model type if null"
        )

    def load(self) -> LoadedBackbone:
        """The model. Raises AssetError for weights that cannot be had, ConfigError for what is no model of text."""
        source = Source.of(self.config)
        with source.reading(self.config):
            stated = source.stated() or _of_gguf(source)
        model_type = stated.get("model_type")
        if not isinstance(model_type, str):
            raise ConfigError(
                f"backbone {source.found}: its config.json names no `model_type`: it is no model of transformers"
            )
        chosen = _families.choose(model_type)
        if chosen is not None:
            name, cls = chosen
            _say(f"auto: {model_type!r} models are read by `use: {name}`")
            given = self.config.model_dump(exclude={"kind"})
            config = cls.Config.model_validate({key: given[key] for key in given if key in cls.Config.model_fields})
            return cls(config).load()
        _say(f"auto: {model_type!r} models are taken as transformers has them: no backbone of their own is installed")
        settings = Backbone.Config.model_validate(self.config.model_dump(exclude={"kind"}))
        return self._reader(model_type, stated)(settings).load()

    def _reader(self, model_type: str, stated: dict[str, Any]) -> type[HuggingFace]:
        kind = self.config.kind or kind_of(model_type)
        if kind is None and self.config.trust_remote_code:
            named = str((stated.get("architectures") or [""])[0])
            kind = "decoder" if named.endswith(("ForCausalLM", "LMHeadModel")) else "encoder"
        if kind is None:
            raise ConfigError(
                f"backbone.path: transformers reads {model_type!r} models as neither language model nor text encoder."
                "\n  `kind: decoder` or `kind: encoder` tries; `trust_remote_code: true` runs code that comes along."
            )
        return _AnyDecoder if kind == "decoder" else _AnyEncoder


def kind_of(model_type: str) -> Literal["decoder", "encoder"] | None:
    """Whether transformers has the type as a language model or as an encoder of text."""
    return known_types().get(model_type)


@cache
def known_types() -> dict[str, Literal["decoder", "encoder"]]:
    """Model types that the installed transformers lists as language models or as masked ones.

    It can run some encoders as decoders too; none is made for it.
    """
    from transformers.models.auto import modeling_auto as lists  # noqa: TID251  (a list of names, no family's code)

    found: dict[str, Literal["decoder", "encoder"]] = dict.fromkeys(lists.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "decoder")
    return found | dict.fromkeys(lists.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "encoder")


def _of_gguf(source: Source) -> dict[str, Any]:
    import transformers

    return {"model_type": transformers.AutoConfig.from_pretrained(source.where, **source.how).model_type}


def _attends(body: Any) -> bool:
    """Whether any part projects queries: what a recurrent model with attention layers has, and one without has not."""
    return any(name.rpartition(".")[2] in ("q_proj", "query_key_value", "qkv_proj") for name, _ in body.named_modules())


def _matching(loaded: LoadedBackbone) -> "list[Callable[[Tensor], Tensor] | None]":
    """The treatment of logits under which head(body) is what the model itself gives on a short text; [] if none is."""
    import torch

    model, head = loaded.model, loaded.head
    assert head is not None
    device = next(loaded.body.parameters()).device
    ids = torch.arange(3, 12, device=device)[None] % loaded.body.config.vocab_size
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            own, mine = model(**given).logits.float(), head(loaded.body(**given).last_hidden_state).float()
    finally:
        model.train(was_training)
    tolerance = 1e-4 if next(loaded.body.parameters()).dtype == torch.float32 else 5e-2
    for treat in _logits.candidates(loaded.body.config):
        treated = mine if treat is None else treat(mine)
        if treated.shape == own.shape and (treated - own).abs().max() <= tolerance * own.abs().max():
            return [treat]
    return []
