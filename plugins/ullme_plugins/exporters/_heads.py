"""Heads as a chain of dense layers, which is what other readers know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ullme import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ullme import Embedder


@dataclass(frozen=True)
class DenseLayer:
    """activation(W v + b), W [out, in]."""

    weight: Tensor
    bias: Tensor | None
    activation: str
    """Dotted name of a torch class."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """[n, in] to [n, out]."""
        from importlib import import_module

        from torch.nn.functional import linear

        module, _, name = self.activation.rpartition(".")
        activation: Tensor = getattr(import_module(module), name)()(linear(vectors, self.weight, self.bias))
        return activation

    def leading(self, dimensions: int) -> DenseLayer:
        """The layer that gives only the first dimensions."""
        bias = None if self.bias is None else self.bias[:dimensions].contiguous()
        return DenseLayer(self.weight[:dimensions].contiguous(), bias, self.activation)


IDENTITY = "torch.nn.modules.linear.Identity"


def dense_layers(embedder: Embedder) -> list[DenseLayer]:
    """What happens between pooling and normalising. `dimensions` becomes rows left out of the last layer.

    Raises ExportError for a head that is no chain of linear layers and activations.
    """
    import torch

    layers: list[DenseLayer] = []
    size = embedder.loaded.hidden_size
    for choice, head in zip(embedder.config.heads, embedder.heads, strict=True):
        if choice.config.use_in != "always":
            continue
        found = _chain(choice.name, head, embedder)
        probe = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted = head(probe.to(embedder.device)).float().cpu()
            made = probe
            for layer in found:
                made = layer(made)
        if made.shape != wanted.shape or not torch.allclose(made, wanted, atol=1e-5, rtol=1e-4):
            raise ExportError(
                f"head {choice.name!r}: more than linear layers and activations: no dense layer equals it"
            )
        layers += found
        size = made.shape[1]
    dimensions = embedder.config.dimensions
    if dimensions and dimensions < size:
        last = layers.pop() if layers else DenseLayer(torch.eye(size), None, IDENTITY)
        layers.append(last.leading(dimensions))
    return layers


def _chain(name: str, head: Any, embedder: Embedder) -> list[DenseLayer]:
    from torch import nn

    own = getattr(embedder.loaded.model, "pooler", None)
    modules = [*head.modules()] if any(True for _ in head.parameters()) else [*own.modules()] if own is not None else []
    leaves = [module for module in modules if not any(True for _ in module.children())]
    layers: list[DenseLayer] = []
    for leaf in leaves:
        if type(leaf) is nn.Linear:
            weights = {key: value.detach().float().cpu().contiguous() for key, value in leaf.named_parameters()}
            layers.append(DenseLayer(weights["weight"], weights.get("bias"), IDENTITY))
        elif _is_activation(leaf) and layers and layers[-1].activation == IDENTITY:
            kind = type(leaf)
            layers[-1] = DenseLayer(layers[-1].weight, layers[-1].bias, f"{kind.__module__}.{kind.__qualname__}")
        elif not isinstance(leaf, nn.Identity | nn.Dropout):
            raise ExportError(f"head {name!r}: {type(leaf).__name__} is neither a linear layer nor an activation")
    if not layers:
        raise ExportError(f"head {name!r}: no linear layer in it, so no dense layer equals it")
    return layers


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ == "torch.nn.modules.activation" and not any(True for _ in module.parameters())


def described(layers: list[DenseLayer]) -> list[Mapping[str, Any]]:
    """The layers without their weights."""
    return [
        {
            "in_features": layer.weight.shape[1],
            "out_features": layer.weight.shape[0],
            "bias": layer.bias is not None,
            "activation_function": layer.activation,
        }
        for layer in layers
    ]
