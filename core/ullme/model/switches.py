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

    def precision(self) -> AbstractContextManager[Any]:
        """fp32 adapters on a half-precision base compute in the base's dtype, as autocast would have it.

        Without the weight cache: a cast made in a pass without gradient must not serve one with gradient.
        """
        dtype, kind = next(self.loaded.body.parameters()).dtype, self.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        elif self.adapter is None or dtype not in HALF:
            return nullcontext()
        return torch.autocast(kind, dtype=dtype, cache_enabled=False)

    @contextmanager
    def routed(self, name: str | None) -> Iterator[None]:
        """The adapter `name` acts inside, and the one that acted before does again afterwards.

        Which weights are trainable is left as it was: peft would change it.
        """
        if name is None or self.adapter is None:
            yield
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        trainable = {parameter: parameter.requires_grad for parameter in self.adapter.parameters()}
        layers = [module for module in self.adapter.modules() if isinstance(module, BaseTunerLayer)]
        before = [layer.active_adapters for layer in layers]
        for layer in layers:
            layer.set_adapter(name)
        try:
            yield
        finally:
            for layer, names in zip(layers, before, strict=True):
                layer.set_adapter(names)
            for parameter, trains in trainable.items():
                parameter.requires_grad_(trains)

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
        now = {name: weight.data for name, weight in self.adapter.named_parameters() if name in self.start}
        weights = dict(self.adapter.named_parameters())
        try:
            for name, data in now.items():
                weights[name].data = self.start[name].to(data)
            with torch.no_grad(), self.evaluating():
                yield
        finally:
            for name, data in now.items():
                weights[name].data = data

    @contextmanager
    def unadapted(self) -> Iterator[None]:
        """The base under the adapter, dropout off. Only without gradient.

        peft marks every adapter weight trainable on the way out; frozen ones are frozen again here.
        """
        if self.adapter is None:
            raise ConfigError("only an adapter can be switched off to give the reference model")
        trainable = {name: parameter.requires_grad for name, parameter in self.adapter.named_parameters()}
        adapter: Any = self.adapter
        try:
            with torch.no_grad(), self.evaluating(), adapter.disable_adapter():
                yield
        finally:
            for name, parameter in self.adapter.named_parameters():
                parameter.requires_grad_(trainable[name])
