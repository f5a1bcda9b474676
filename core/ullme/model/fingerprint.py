"""What tells one model from another: a hash under which results are filed and found again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from ullme.model.reference import TEXTS

if TYPE_CHECKING:
    from ullme.model.embedder import Embedder
    from ullme.types import LoadedBackbone

_PLACE = {"path", "parts", "sha256", "revision", "merge"}
"""Where the weights came from says nothing that they do not."""

_NO_PART = (
    "name_or_path",
    "version",
    "architectures",
    "dtype",
    "attn_implementation",
    "use_cache",
    "token_id",
    "auto_map",
)
"""Entries of a transformers config that decide no vector, or are settings of ours, by a part of their names."""


def fingerprint(embedder: Embedder) -> str:
    """A hash of weights, architecture, tokenizer, template and settings, in 16 hexadecimal digits."""
    settings = embedder.config.model_dump(mode="json", exclude={"template"})  # the one in use is hashed
    for section in (settings["backbone"], settings["adapter"] or {}, settings["pooler"], *settings["heads"]):
        for key in _PLACE & section.keys():
            del section[key]
    digest = hashlib.sha256(repr((settings, embedder.template.config)).encode())
    digest.update(json.dumps([_architecture(embedder.loaded), _tokens(embedder.loaded.tokenizer)]).encode())
    for name, tensor in sorted(embedder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _architecture(loaded: LoadedBackbone) -> Any:
    """What the weights do not say: heads, activations, windows, factors."""

    def kept(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: kept(value[key]) for key in sorted(value, key=str) if not any(part in str(key) for part in _NO_PART)
        }

    model: Any = loaded.model
    return kept(json.loads(model.config.to_json_string(use_diff=False)))


def _tokens(tokenizer: Any) -> Any:
    """The vocabulary, and what becomes of the reference texts: other rules of merging show in these."""
    ids = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in TEXTS]
    return sorted(tokenizer.get_vocab().items()), ids
