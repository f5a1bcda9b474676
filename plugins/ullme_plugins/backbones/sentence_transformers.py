"""Any sentence-transformers model: its transformer by the backbone of its family, all else as it is set there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme import Backbone, ConfigError, LoadedBackbone, WeightFolder, fetch
from ullme_plugins.backbones._st_modules import Modules, read_modules
from ullme_plugins.backbones.auto import Auto, kind_of

if TYPE_CHECKING:
    from ullme.config.template import Span, TemplateConfig


class SentenceTransformersModel(Backbone):
    """A sentence-transformers directory or hub id, with its pooling, dense layers, prompts and lengths.

    They are the defaults of the `model:` section: what the YAML says itself is kept. The vectors are those of
    `SentenceTransformer(path)`; a module without a counterpart here is refused by name.
    """

    def load(self) -> LoadedBackbone:
        """The transformer, with `defaults`. Raises ConfigError for a module that cannot be taken over, AssetError."""
        config = self.config
        if config.path is None:
            raise ConfigError("backbone.path: expected a sentence-transformers directory or hub id")
        found = fetch(config.path, sha256=config.sha256)
        folder = WeightFolder(str(found), config.revision)
        made = read_modules(folder, str(config.path), config.allow_pickle)
        place = str(found)
        if made is not None and made.transformer:
            if not isinstance(found, Path):
                raise ConfigError(f"{found}: its transformer is in a sub-folder: download it, and give that folder")
            place = str(found / made.transformer)
        kernel = config.attn_implementation or (made.model_kwargs.get("attn_implementation") if made else None)
        given = config.model_dump() | {"path": place, "sha256": None, "attn_implementation": kernel}
        loaded = Auto(Auto.Config.model_validate(given)).load()
        if made is None:  # what sentence-transformers makes of a plain model
            loaded.defaults = _plain(loaded)
            return loaded
        _apply(made, loaded)
        return loaded


def _plain(loaded: LoadedBackbone) -> dict[str, Any]:
    settings: Any = loaded.body.config
    made_for = str((settings.architectures or [""])[0])
    causal = made_for.endswith("ForCausalLM") and getattr(settings, "is_causal", True)
    return {
        "attention": "bidirectional" if _looks_ahead(loaded) else "causal",
        "pooler": "last" if causal else "mean",
        "normalize": False,
    }


def _looks_ahead(loaded: LoadedBackbone) -> bool:
    """Whether transformers runs the model in both directions by itself: an encoder, or a decoder that is told to."""
    config: Any = loaded.body.config
    told = not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False)
    return bool(told) or kind_of(config.model_type) != "decoder"


def _apply(made: Modules, loaded: LoadedBackbone) -> None:
    """Set the tokenizer and the longest text as sentence-transformers does, and the defaults of the section."""
    tokenizer = loaded.tokenizer
    if made.settings.get("do_lower_case"):
        _lower(tokenizer)
    longest = made.settings.get("max_seq_length") or loaded.max_length
    lengths = {
        role: made.settings[f"{role}_length"] for role in ("query", "document") if made.settings.get(f"{role}_length")
    }
    fits = getattr(loaded.body.config, "max_position_embeddings", None)
    room = fits - loaded.position_offset if fits and fits > 0 else max([longest, *lengths.values()])
    loaded.max_length = min(room, max([longest, *lengths.values()]))  # whatever the tokenizer's file says
    last = made.heads[-1]["out_features"] if made.heads else loaded.hidden_size
    if made.dimensions and made.dimensions >= last:
        made.dimensions = None
    if made.dimensions and made.normalize:
        raise ConfigError(
            f"truncate_dim {made.dimensions}: sentence-transformers cuts vectors that are normalised already and leaves"
            " them shorter than 1, which nothing here does.\n  Use the family's backbone with `dimensions:`."
        )
    prompts = dict(made.prompts)
    template = _template(made, loaded, {"default": longest, **lengths}, prompts)
    loaded.defaults = {
        "attention": "bidirectional" if _looks_ahead(loaded) else "causal",
        "pooler": made.pooler,
        "heads": made.heads,
        "normalize": made.normalize,
        "dimensions": made.dimensions,
        "similarity": made.similarity,
        "prompts": prompts,
        "max_tokens": loaded.max_length,
        "template": template.model_dump(),
    }
    _check(made, loaded, template, prompts)


def _template(
    made: Modules, loaded: LoadedBackbone, lengths: dict[str, int], prompts: dict[str, str]
) -> TemplateConfig:
    """The tokenizer's own tokens around prompt and text. A prompt that is not pooled takes those before it along."""
    from ullme.config.template import Span, TemplateConfig

    tokenizer = loaded.tokenizer
    bare, full = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    start = next(i for i in range(len(full) + 1) if full[i : i + len(bare)] == bare)
    head, tail = (tokenizer.convert_ids_to_tokens(ids) for ids in (full[:start], full[start + len(bare) :]))

    def spans(role: str) -> list[Span]:
        prompt = prompts.get(role, "")
        pooled = made.include_prompt or not prompt
        room = None
        if len(set(lengths.values())) > 1:
            room = max(1, lengths.get(role, lengths["default"]) - len(tokenizer(prompt)["input_ids"]))
        return [
            *(Span(text=token, tokenize="token", pool=pooled) for token in head),
            Span(text="{instruction}", pool=made.include_prompt),
            Span(text="{text}", max_tokens=room),
            *(Span(text=token, tokenize="token") for token in tail),
        ]

    roles = ["default", *(lengths if len(set(lengths.values())) > 1 else ())]
    roles += [] if made.include_prompt else [*prompts, "query", "document"]
    return TemplateConfig(embed={role: spans(role) for role in dict.fromkeys(roles)})


def _check(made: Modules, loaded: LoadedBackbone, template: TemplateConfig, prompts: dict[str, str]) -> None:
    """The template must give the ids of plain tokenisation, and pool what sentence-transformers pools."""
    from ullme.model.reference import TEXTS
    from ullme.model.template import Template

    tokenizer = loaded.tokenizer
    ours = Template(template, tokenizer, loaded.max_length, loaded.max_length)
    for role in list(dict.fromkeys(["default", "query", "document", *prompts]))[:12]:
        prompt = prompts.get(role, "")
        skipped = 0
        if prompt and not made.include_prompt:
            alone = tokenizer(prompt)["input_ids"]
            skipped = len(alone) - (alone[-1] in tokenizer.all_special_ids)
        for text in TEXTS[:-1]:
            found = ours.embed([text], role, prompt)[0]
            wanted = tokenizer(prompt + text, truncation=True, max_length=loaded.max_length)["input_ids"]
            if len(found) < len(wanted):
                continue  # cut by a length of the role's own
            if list(found.ids) != wanted:
                raise ConfigError(f"its tokenizer gives {text[:20]!r} other tokens than a template can give it")
            if list(found.pool) != [place >= skipped for place in range(len(wanted))]:
                raise ConfigError(
                    f"prompt {role!r} is not pooled, and its last token joins the text's first: where one ends and the"
                    " other begins is not the same here"
                )


def _lower(tokenizer: Any) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    own = tokenizer.backend_tokenizer.normalizer
    if "Lowercase" in repr(own) or "lowercase=True" in repr(own):
        return
    rest = [] if own is None else [own]
    tokenizer.backend_tokenizer.normalizer = Sequence([Lowercase(), *rest])
