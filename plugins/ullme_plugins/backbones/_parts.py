"""What is inside a model that transformers built: layers, parts that read left to right, targets for LoRA."""

import re
from typing import Any

from ullme import AssetError, ConfigError

RECURRENT = {"linear_attention", "conv", "hybrid", "hybrid_sliding", "mamba", "recurrent"}
"""Values of a config's `layer_types` whose layers carry a state from left to right."""

_CHOOSES = re.compile(r"(^|\.)(\w*router\w*|\w*indexer|shared_expert_gate|gate)(\.|$)")
"""Layers that choose experts or keys: an adapter on them would move the choice, not what is computed."""

_BY_WEIGHT = {"dt_proj", "out_proj"}
"""Layers whose weight a state-space kernel reads past their forward: an adapter on them would do nothing."""


def blocks(body: Any) -> list[Any]:
    """The layers: the longest list of modules that may not be split over devices, or of any modules."""
    from torch import nn
    from transformers.modeling_layers import GradientCheckpointingLayer

    whole = set(getattr(body, "_no_split_modules", None) or ())
    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList) and len(module)]
    layers = [found for found in lists if type(found[0]).__name__ in whole]
    layers = layers or [found for found in lists if isinstance(found[0], GradientCheckpointingLayer)]
    return list(max(layers or lists, key=len))


def recurrent(body: Any) -> tuple[str, ...]:
    """Names of what reads the text left to right: types of layers, and classes that convolve over the text."""
    types = getattr(body.config, "layer_types", None)
    found = RECURRENT & set(types if isinstance(types, list | tuple) else ())
    return tuple(sorted(found | {type(module).__name__ for module in body.modules() if _convolves(module)}))


def position_offset(body: Any) -> int:
    """What is added to positions that count from 0: RoBERTa's table starts behind the row of the padding token."""
    for name, module in body.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
            return 0 if module.padding_idx is None else int(module.padding_idx) + 1
    return 0


def lora_targets(model: Any, body: Any) -> str:
    """`all-linear` where that is right; else a regular expression of the body's linear layers that can be adapted."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    prefix = next(name for name, module in model.named_modules() if module is body)
    mixers = [name for name, module in body.named_modules() if _convolves(module)]
    inside, kept = set(), set()
    for name, module in body.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            inside.add(id(module))
            parent, _, leaf = name.rpartition(".")
            if not _CHOOSES.search(name) and not (parent in mixers and leaf in _BY_WEIGHT):
                kept.add(name)
    inside.add(id(model.get_output_embeddings()))  # which `all-linear` leaves out too
    outside = [module for module in model.modules() if isinstance(module, nn.Linear) and id(module) not in inside]
    if not kept or (len(kept) >= len(inside) - 1 and not outside):
        return "all-linear"
    shapes = sorted({re.sub(r"(^|\\\.)\d+(?=\\\.|$)", r"\1\\d+", re.escape(name)) for name in kept})
    return rf"(.*\.)?{re.escape(prefix + '.') if prefix else ''}({'|'.join(shapes)})"


def _convolves(module: Any) -> bool:
    from torch import nn

    return any(isinstance(child, nn.Conv1d) and child.kernel_size[0] > 1 for child in module.children())


def check_tokenizer(tokenizer: Any, model: Any, found: Any) -> None:
    """Raise AssetError for a tokenizer whose ids the model has no embedding for.

    Added special tokens beyond the table pass if no text is framed by them: checkpoints come with image and padding
    tokens that a text model was never given.
    """
    table = model.get_input_embeddings()
    rows = getattr(table, "num_embeddings", None) or table.weight.shape[0]
    framing = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "unk", "mask")}
    added = {id: token.special for id, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    beyond = [
        (id, token)
        for token, id in tokenizer.get_vocab().items()
        if id >= rows and (id in framing or not added.get(id, False))
    ]
    if beyond:
        id, token = min(beyond)
        raise AssetError(
            f"backbone {found}: the tokenizer is not this model's: it has {len(tokenizer)} tokens, the model embeds"
            f" {rows}; {token!r} is number {id}.\n  Put the tokenizer files that belong to the weights beside them."
        )


def check_implementation(asked: str | None, cls: Any) -> None:
    """Raise ConfigError for an attention implementation that the model class lacks, naming those it has."""
    if cls is None:  # its code comes with the weights
        return
    known = {
        "eager": True,
        "sdpa": getattr(cls, "_supports_sdpa", False),
        "flex_attention": getattr(cls, "_supports_flex_attn", False),
        "flash_attention_2": getattr(cls, "_supports_flash_attn", False),
    }
    if asked in known and not known[asked]:
        has = ", ".join(name for name, supported in known.items() if supported)
        raise ConfigError(f"backbone.attn_implementation: {cls.__name__} has no {asked}; it has {has}")


def check_complete(missing: set[str], found: Any) -> None:
    """Raise AssetError for weights that the checkpoint lacks: they would be random numbers."""
    if missing:
        raise AssetError(
            f"backbone {found}: the checkpoint lacks {len(missing)} weights of the model (such as {min(missing)});"
            "\n  they would be random. It is cut short, or of another architecture than its config says."
        )
