"""Which families there are: every text model of the installed transformers, and who reads it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import Any

from ullme import ConfigError, Registry, UllmeError
from ullme_plugins.backbones.auto import known_types

NOT_TEXT = {
    "aria_text gemma4_assistant gemma4_unified_assistant": "a part of a larger model, not published alone",
    "blt": "reads bytes through an encoder of its own",
    "bart bert-generation bigbird_pegasus blenderbot blenderbot-small": "an encoder-decoder, or half of one",
    "marian mbart mvp pegasus plbart prophetnet trocr": "an encoder-decoder, or half of one",
    "xlnet": "predicts tokens in an order of its own",
    "dots3_note emu3 fuyu gemma3 gemma3n gemma4 gemma4_unified git got_ocr2 llama4 mllama phi4_multimodal qwen3_5": (
        "reads images too; its text model is a family of its own"
    ),
    "qwen3_5_moe qwen4_exp": "reads images too; its text model is a family of its own",
    "moshi moss_transcribe_diarize musicgen musicgen_melody whisper": "reads or writes sound",
    "esm esmc": "reads proteins",
    "layoutlm modernvbert neomme perceiver tapas ultravbert": "reads layouts, tables or images",
}
"""Model types of transformers' lists of language models that are no text model of their own, by reason."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon, alibi": ("falcon", {"alibi": True}),
    "gemma3_text, bidirectional": ("gemma3_text", {"use_bidirectional_attention": True}),
    "mixtral, window": ("mixtral", {"sliding_window": 4}),
    "phi3, window": ("phi3", {"sliding_window": 4}),
    "phimoe, window": ("phimoe", {"sliding_window": 4}),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}),
    "qwen3, window": ("qwen3", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}),
}
"""Models that share a type and behave otherwise."""


def not_text() -> dict[str, str]:
    """Model types left out, with the reason."""
    return {name: reason for names, reason in NOT_TEXT.items() for name in names.split()}


@cache
def plugins() -> dict[str, str]:
    """Model type -> the backbone that reads it, of every usable backbone."""
    registry = Registry()
    found: dict[str, str] = {}
    for name in registry.names("backbone"):
        try:
            types = registry.load("backbone", name).model_types
        except UllmeError:
            continue  # the doctor's affair
        for model_type in types:
            found.setdefault(model_type, name)
    return found


def families() -> list[str]:
    """Every family of the installed transformers that is a text model, and those of installed backbones besides."""
    return sorted({*known_types(), *plugins(), *VARIANTS} - not_text().keys())


def chosen(names: Iterable[str]) -> list[str]:
    """The families that names of backbones or of model types stand for. Raises ConfigError for others."""
    registry, known = Registry(), families()
    result: list[str] = []
    for name in names:
        plugin = registry.index.aliased("backbone", name)
        own = [family for family in known if plugin in (reader(family), reader(family).partition(":")[2])]
        exact = [family for family in known if name in (family, VARIANTS.get(family, (family,))[0])]
        if not own and not exact:
            if name in not_text():
                raise ConfigError(f"{name!r} is not looked at: {not_text()[name]}")
            close = get_close_matches(name, {*known, *registry.names("backbone")}, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"no backbone and no model type of a text model is called {name!r}.{meant}")
        result += own if plugin != "auto" and own else exact or own
    return list(dict.fromkeys(result)) if result else known


def reader(family: str) -> str:
    """The backbone that reads a family."""
    return plugins().get(VARIANTS.get(family, (family, {}))[0], "auto")
