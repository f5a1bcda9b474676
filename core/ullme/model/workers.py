"""Who computes: one model in this thread, or one thread for each of several devices."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from ullme.errors import ConfigError
from ullme.model.compiling import Forward, compiled, using
from ullme.model.native import dtype_for, fast_products
from ullme.model.replicas import devices_of, replicate
from ullme.model.windows import Batch

if TYPE_CHECKING:
    import numpy as np

    from ullme.model.embedder import Embedder

Result = tuple[Batch, "np.ndarray"]


class Workers:
    """The model on its devices, made once for any number of `run`s: one thread an entry of `devices`.

    Entries of the CPU share the weights and divide the cores: small operations gain little from several, and threads
    that wait for each other after each of them lose ten times that where anything else runs beside.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        devices: Sequence[str] | None = None,
        dtype: str | None = None,
        compile: bool = False,
    ) -> None:
        self.embedder = embedder
        found = devices_of(devices, embedder)
        made = {
            device: replicate(embedder, device, None if dtype is None else dtype_for(dtype, device))
            for device in dict.fromkeys(found)
        }
        self.embedders = [made[device] for device in found]
        self._forwards: dict[int, list[Forward]] = {
            id(one): compiled(one.loaded.blocks) if compile else [] for one in made.values()
        }

    def run(self, batches: Sequence[Batch], *, adapter: str | None = None) -> Iterator[Result]:
        """Vectors [n, d] in fp32 of each batch; of several workers, whichever is ready first.

        Raises ConfigError for a batch that does not fit the device's memory.
        """
        with ExitStack() as stack:
            for one in {id(one): one for one in self.embedders}.values():
                stack.enter_context(one.evaluating())
                stack.enter_context(one.routed(adapter))
                stack.enter_context(using(one.loaded.blocks, self._forwards[id(one)]))
            several = len(self.embedders) > 1 and len(batches) > 1
            yield from self._together(batches) if several else self._alone(batches)

    def _alone(self, batches: Sequence[Batch]) -> Iterator[Result]:
        embedder = self.embedders[0]
        ahead = 0 if embedder.device.type == "cpu" else 1  # a GPU computes while the batch before it is fetched
        waiting: deque[tuple[Batch, torch.Tensor]] = deque()
        for batch in batches:
            waiting.append((batch, _vectors(embedder, batch)))
            if len(waiting) > ahead:
                yield _fetched(*waiting.popleft())
        for last in waiting:
            yield _fetched(*last)

    def _together(self, batches: Sequence[Batch]) -> Iterator[Result]:
        waiting = deque(batches)
        results: SimpleQueue[Result | BaseException | None] = SimpleQueue()
        cores = torch.get_num_threads()
        share = max(1, cores // sum(one.device.type == "cpu" for one in self.embedders)) if self._on_cpu else cores

        def work(embedder: Embedder, surroundings: AbstractContextManager[Any]) -> None:
            try:
                torch.set_num_threads(share)  # of this thread
                with surroundings:
                    while (batch := _next(waiting)) is not None:
                        results.put(_fetched(batch, _vectors(embedder, batch)))
                results.put(None)
            except BaseException as exc:
                results.put(exc)

        threads = [
            threading.Thread(target=copy_context().run, args=(work, one, _autocast(one.device)), daemon=True)
            for one in self.embedders
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                while (found := results.get()) is not None:
                    if isinstance(found, BaseException):
                        raise found
                    yield found
        finally:
            waiting.clear()
            for thread in threads:
                thread.join()
            torch.set_num_threads(cores)  # threads to come would start with the last value that any thread set

    @property
    def _on_cpu(self) -> bool:
        return any(one.device.type == "cpu" for one in self.embedders)


def _next(waiting: deque[Batch]) -> Batch | None:
    try:
        return waiting.popleft()  # atomic
    except IndexError:
        return None


def _vectors(embedder: Embedder, batch: Batch) -> torch.Tensor:
    from ullme.model.embedder import VectorCall

    try:
        with torch.no_grad(), fast_products(embedder.device):
            made: torch.Tensor = embedder(VectorCall(batch.tokens))
    except torch.OutOfMemoryError as exc:
        longest = max(map(len, batch.tokens))
        raise ConfigError(
            f"{embedder.device} has no memory for {len(batch.tokens)} texts of up to {longest} tokens in one model call"
            f"\n  Lower batch_tokens{'' if len(batch.tokens) > 1 else ' (no use here: it is one text) or max_tokens'}."
        ) from exc
    return made


def _fetched(batch: Batch, vectors: torch.Tensor) -> Result:
    return batch, vectors.cpu().numpy()


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """What the caller's thread has set, for a thread that starts without it."""
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.get_autocast_dtype(device.type))
