"""Modules of heads: vectors [n, size] to [n, out_size], in the dtype of the vectors."""

from typing import Any

import torch  # noqa: TID253  (imported by build() alone)
from torch import Tensor, nn  # noqa: TID253

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
}


class Projection(nn.Module):
    """A trained projection; subclasses say which in `project`.

    It computes in the dtype of its weights, also under autocast: with one vector a text half precision saves nothing,
    and what it rounds off is seen by every comparison.
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """[n, size] to [n, out_size]."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self.project(vectors).to(vectors.dtype)

    def project(self, vectors: Tensor) -> Tensor:
        """As `forward`, in whatever dtype the weights have."""
        raise NotImplementedError


class DenseLayer(Projection):
    """Linear and activation; weights are named as sentence-transformers names those of its Dense."""

    def __init__(self, size: int, out_size: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.linear = nn.Linear(size, out_size, bias=bias)
        self.activation = ACTIVATIONS[activation]()

    def project(self, vectors: Tensor) -> Tensor:
        """activation(W v + b)."""
        return self.activation(self.linear(vectors.to(self.linear.weight.dtype)))  # type: ignore[no-any-return]


class TwoLayers(Projection):
    """Linear, activation, Linear."""

    def __init__(self, size: int, hidden_size: int, out_size: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden_size, bias=bias)
        self.activation = ACTIVATIONS[activation]()
        self.second = nn.Linear(hidden_size, out_size, bias=bias)

    def project(self, vectors: Tensor) -> Tensor:
        """W2 activation(W1 v + b1) + b2."""
        vectors = vectors.to(self.first.weight.dtype)
        return self.second(self.activation(self.first(vectors)))  # type: ignore[no-any-return]


class OwnPooler(nn.Module):
    """A backbone's pooling layer, applied to vectors. The layer stays the backbone's: it is in no state twice."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._owner = (model,)  # in a tuple, where torch does not look for modules

    def forward(self, vectors: Tensor) -> Tensor:
        """tanh(W v + b), [n, size] to [n, size], with the layer as it is now: an adapter may have changed it.

        A half-precision layer computes under autocast, as the backbone does: fp32 adapters on it rely on it.
        """
        layer: Any = self._owner[0].pooler
        dtype = next(weight.dtype for weight in layer.parameters() if weight.is_floating_point())
        half = dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(vectors.device.type, dtype=dtype if half else None, enabled=half, cache_enabled=False):
            return layer(vectors.to(dtype).unsqueeze(1)).to(vectors.dtype)  # type: ignore[no-any-return]
