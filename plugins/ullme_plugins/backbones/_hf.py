"""What all families loaded through transformers share: config, tokenizer and weights read, checked, and taken apart."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ullme import Backbone, ConfigError, LoadedBackbone
from ullme_plugins.backbones import _parts
from ullme_plugins.backbones._source import Source, options

if TYPE_CHECKING:
    from torch import Tensor, nn

SymmetricBias = Callable[[Callable[[], bool]], None]


class HuggingFace(Backbone):
    """Shared loader; a family says which `model_type`s it serves and overrides what is particular to it."""

    auto_class: ClassVar[str]
    flash: ClassVar[bool] = True

    def load(self) -> LoadedBackbone:
        """Weights and tokenizer. Raises AssetError for missing or refused files, ConfigError for another family."""
        source = Source.of(self.config)
        with source.reading(self.config):
            stated = source.stated()
            if stated:
                self.check_family(str(stated.get("model_type")), source)
            source.check_shards()
            tokenizer = self.read_tokenizer(source)
            model = self.read_model(source, stated)
        self.check_family(model.config.model_type, source)
        _parts.check_tokenizer(tokenizer, model, source.found)
        return self.describe(model, tokenizer)

    def read_tokenizer(self, source: Source) -> Any:
        """The tokenizer beside the weights."""
        import transformers

        return transformers.AutoTokenizer.from_pretrained(source.where, **source.how)

    def read_model(self, source: Source, stated: dict[str, Any]) -> Any:
        """The model, with every weight from the checkpoint; its body alone where the checkpoint holds no more."""
        import transformers

        maker = getattr(transformers, self.auto_class)
        config = transformers.AutoConfig.from_pretrained(source.where, **source.how)
        return self.complete(maker, config, source)

    def complete(self, maker: Any, config: Any, source: Source, **more: Any) -> Any:
        """`maker`'s model of `config`. Raises AssetError for weights that the checkpoint lacks."""
        cls = _built_by(maker, config)
        chosen = options(self.config, gguf=source.gguf)
        _parts.check_implementation(self.config.attn_implementation, cls)
        pooling_layer = getattr(self.config, "pooling_layer", False)
        if cls is not None and "add_pooling_layer" in _init_arguments(cls):
            more["add_pooling_layer"] = pooling_layer  # else its weights would stand in every count, used by nothing
        elif pooling_layer:
            raise ConfigError(f"backbone.pooling_layer: {getattr(cls, '__name__', maker.__name__)} has none")
        model, info = maker.from_pretrained(
            source.where, config=config, **source.how, **chosen, **more, output_loading_info=True
        )
        missing = set(info["missing_keys"])
        head = model.get_output_embeddings()
        own = {id(parameter) for parameter in ([] if head is None else head.parameters())}
        lacking = {name for name, parameter in model.named_parameters() if id(parameter) in own} & missing
        _parts.check_complete(missing - lacking, source.found)
        return model.base_model if lacking else model

    def describe(self, model: "nn.Module", tokenizer: Any) -> LoadedBackbone:
        """The parts of `model` that ullme works with."""
        body: Any = self.body(model)
        self.prepare(body)
        offset = _parts.position_offset(body)
        limits = [(self.longest(body.config) or 0) - offset, tokenizer.model_max_length]
        return LoadedBackbone(
            model=model,
            body=body,
            head=self.head(model),
            tokenizer=tokenizer,
            hidden_size=self.width(body.config),
            max_length=min(limit for limit in limits if limit > 0),
            blocks=_parts.blocks(body),
            logits=self.logits(body.config),
            recurrent=self.recurrent(body),
            allow_partial=self.config.allow_partial,
            refusal=self.refusal(body),
            symmetric_bias=self.symmetric_bias(body),
            symmetric_length=self.symmetric_length(body.config),
            flash=self.flash,
            position_offset=offset,
            lora_targets=_parts.lora_targets(model, body),
        )

    # ---- what a family may override --------------------------------------------------------------------------------

    def body(self, model: Any) -> "nn.Module":
        """The part that maps token ids to hidden states."""
        body = model.base_model
        return body if body is not model or not hasattr(model, "model") else model.model  # type: ignore[no-any-return]

    def head(self, model: Any) -> "nn.Module | None":
        """The part that maps hidden states to logits."""
        return model.get_output_embeddings()  # type: ignore[no-any-return]

    def logits(self, config: Any) -> "Callable[[Tensor], Tensor] | None":
        """What the family does to logits after the head."""
        return None

    def prepare(self, body: Any) -> None:
        """Change what must be changed in a freshly loaded body; causal results must stay bit-equal."""

    def width(self, config: Any) -> int:
        """Length of the last hidden state of a token."""
        return config.hidden_size  # type: ignore[no-any-return]

    def longest(self, config: Any) -> int | None:
        """Tokens that fit the model, where it has a limit."""
        return getattr(config, "max_position_embeddings", None)

    def recurrent(self, body: Any) -> tuple[str, ...]:
        """What no attention can make bidirectional."""
        return _parts.recurrent(body)

    def refusal(self, body: Any) -> str | None:
        """Why the model must not look ahead, and what to do instead."""
        return None

    def symmetric_bias(self, body: Any) -> SymmetricBias | None:
        """How its positional bias becomes symmetric."""
        return None

    def symmetric_length(self, config: Any) -> int | None:
        """The longest text for which sparse attention is the whole attention."""
        return getattr(config, "index_topk", None)

    def check_family(self, found: str, source: Source) -> None:
        """Raise ConfigError for a model of another family, naming the backbone that reads it."""
        if found not in self.model_types:
            from ullme_plugins.backbones._families import backbone_for

            other = backbone_for(found)
            use = f"`use: {other}`" if other else "`use: auto`"
            raise ConfigError(
                f"backbone {source.found} holds a {found!r} model; this backbone reads {', '.join(self.model_types)}."
                f"\n  Use the backbone of that family: {use}."
            )


class Decoder(HuggingFace):
    """A language model: vectors and likelihoods; vectors alone if its checkpoint was made to look both ways."""

    auto_class = "AutoModelForCausalLM"

    def read_model(self, source: Source, stated: dict[str, Any]) -> Any:
        """A checkpoint with `use_bidirectional_attention` (EmbeddingGemma) is an encoder: it never saw a next token."""
        if stated.get("use_bidirectional_attention") not in (True, "all"):
            return super().read_model(source, stated)
        import transformers

        config = transformers.AutoConfig.from_pretrained(source.where, **source.how)
        return self.complete(transformers.AutoModel, config, source)

    def head(self, model: Any) -> "nn.Module | None":
        """None where the model is a body alone."""
        return None if model.base_model is model and not hasattr(model, "lm_head") else super().head(model)


class Encoder(HuggingFace):
    """An encoder: vectors only."""

    class Config(HuggingFace.Config):
        pooling_layer: bool = Field(False, description="load the pooling layer too, for the head that uses it")

    auto_class = "AutoModel"

    def body(self, model: Any) -> "nn.Module":
        """An encoder is its own body."""
        return model  # type: ignore[no-any-return]

    def head(self, model: Any) -> None:
        """No likelihoods."""
        return

    def recurrent(self, body: Any) -> tuple[str, ...]:
        """Nothing: an encoder that convolves does so both ways."""
        return ()


def _built_by(maker: Any, config: Any) -> Any:
    """The model class that an auto class makes of a config; None where the code comes with the weights."""
    mapping = getattr(maker, "_model_mapping", None)
    if mapping is None:
        return maker
    cls = mapping.get(type(config), None)
    return cls[0] if isinstance(cls, tuple) else cls


def _init_arguments(cls: Any) -> set[str]:
    import inspect

    return set(inspect.signature(cls.__init__).parameters)
