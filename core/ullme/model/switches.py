"""How a model acts inside a context: without dropout, as it was before training, with one adapter, in which dtype.

Each switches the whole module and is not for threads, unlike attention modes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ullme.errors import ConfigError

if TYPE_CHECKING:
    from ullme.types import LoadedBackbone

HALF = (torch.bfloat16, torch.float16)


class Switches(nn.Module):
    """What `Embedder` can be switched to."""

    adapter: nn.Module | None
    loaded: LoadedBackbone
    start: Mapping[str, Tensor] | None = None
    """Adapter weights before training, where it continues a trained adapter."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.loaded.body.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.loaded.body.parameters()).dtype

    def precision(self) -> AbstractContextManager[Any]:
        """fp32 adapters on a half-precision base compute in the base's dtype, as autocast would have it.

        Without the weight cache: a cast made in a pass without gradient must not serve one with gradient.
        """
        dtype, kind = self.dtype, self.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        elif self.adapter is None or dtype not in HALF:
            return nullcontext()
        return torch.autocast(kind, dtype=dtype, cache_enabled=False)

    @contextmanager
    def routed(self, name: str | None) -> Iterator[None]:
        """The adapter `name` acts inside, and the one that acted before does again afterwards."""
        if name is None or self.adapter is None:
            yield
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [module for module in self.adapter.modules() if isinstance(module, BaseTunerLayer)]
        before = [layer.active_adapters for layer in layers]
        with _trainable_as_before(self.adapter):
            for layer in layers:
                layer.set_adapter(name)
            try:
                yield
            finally:
                for layer, names in zip(layers, before, strict=True):
                    layer.set_adapter(names)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout off inside."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """The model as it was before training, dropout off: the base, or with the adapter that training continues."""
        if self.adapter is None or self.start is None:
            with self.unadapted():
                yield
            return
        weights = {name: weight for name, weight in self.adapter.named_parameters() if name in self.start}
        now = {name: weight.data for name, weight in weights.items()}
        try:
            for name, weight in weights.items():
                weight.data = self.start[name].to(weight.data)
            with torch.no_grad(), self.evaluating():
                yield
        finally:
            for name, weight in weights.items():
                weight.data = now[name]

    @contextmanager
    def unadapted(self) -> Iterator[None]:
        """The base under the adapter, dropout off. Only without gradient."""
        if self.adapter is None:
            raise ConfigError("only an adapter can be switched off to give the reference model")
        with torch.no_grad(), self.evaluating(), self.adapter_off():
            yield

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The adapter, if there is one, adds nothing inside."""
        if self.adapter is None:
            yield
            return
        adapter: Any = self.adapter
        with _trainable_as_before(adapter), adapter.disable_adapter():
            yield


@contextmanager
def _trainable_as_before(module: nn.Module) -> Iterator[None]:
    """peft marks adapter weights trainable or frozen whenever it switches; afterwards they are what they were."""
    trainable = {parameter: parameter.requires_grad for parameter in module.parameters()}
    try:
        yield
    finally:
        for parameter, trains in trainable.items():
            parameter.requires_grad_(trains)
