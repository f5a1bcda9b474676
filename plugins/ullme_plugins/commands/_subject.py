"""A tiny model under test: what it is loaded as, and texts to give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ullme import AttentionPatcher, LoadedBackbone

if TYPE_CHECKING:
    from torch import Tensor

CLOSE = 1e-5
"""Largest distance between tensors that must be the same, in fp32."""


@dataclass
class Subject:
    """A tiny model: loaded by ullme, its modes, and the stock copy (None where transformers cannot read the layout)."""

    loaded: LoadedBackbone
    ahead: AttentionPatcher
    causal: AttentionPatcher | None
    stock: Any

    @property
    def trains(self) -> bool:
        """Whether its attention has a backward here: flex_attention has none on a CPU."""
        config: Any = self.loaded.body.config
        device = next(self.loaded.body.parameters()).device
        return not (config._attn_implementation == "flex_attention" and device.type == "cpu")

    @property
    def modes(self) -> list[AttentionPatcher]:
        """Both modes of a language model, the one of an encoder."""
        return [self.ahead, *([self.causal] if self.causal else [])]

    def tokens(self, length: int, seed: int) -> Tensor:
        """Distinct token ids [length], none of them special."""
        import torch

        size = min(int(self.loaded.body.config.vocab_size), 1000) - 10  # type: ignore[union-attr,arg-type]
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:length] + 8


def padded(*texts: Tensor, left: bool = False) -> tuple[Tensor, Tensor]:
    """Ids and mask [n, T], filled up with 0."""
    import torch

    width = max(map(len, texts))
    ids, mask = (torch.zeros(len(texts), width, dtype=torch.long) for _ in range(2))
    for row, tokens in enumerate(texts):
        place = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9))


def windows(config: Any) -> str:
    """`sliding window` or `chunks` where the attention of some layer is local, else empty."""
    types = getattr(config, "layer_types", None) or ()
    if "chunked_attention" in types:
        return "chunks"
    local = ("sliding_window", "sliding_window_size", "window_size", "local_attention", "attention_window_size")
    used = any(getattr(config, name, None) for name in local) and getattr(config, "use_sliding_window", True)
    return "sliding window" if used or "sliding_attention" in types else ""
