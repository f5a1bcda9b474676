"""Many texts to vectors: windows of sorted texts, tokenised ahead, each distinct one encoded once, on any devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ullme.errors import DataError
from ullme.model.tokens import Tokens
from ullme.model.windows import WINDOW, Window, ahead, windows
from ullme.model.workers import Workers

if TYPE_CHECKING:
    import numpy as np

    from ullme.model.embedder import Embedder

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Request:
    """How texts are to be read: what `Embedder.encode` says of each."""

    role: str = "document"
    tasks: tuple[str, ...] = ()
    instruction: str | None = None
    max_tokens: int | None = None
    batch_tokens: int | None = None

    def windows(
        self, texts: Iterable[str], embedder: Embedder, *, start: int, size: int, across: bool
    ) -> Iterator[Window]:
        """The windows of `texts`, made in a thread ahead of whoever reads them."""
        prompt = embedder.prompt(self.role, *self.tasks) if self.instruction is None else self.instruction

        def tokenise(piece: Sequence[str]) -> list[Tokens]:
            return embedder.template.embed(piece, self.role, prompt, self.max_tokens)

        budget = self.batch_tokens or default_batch_tokens(embedder.device)
        return ahead(windows(texts, tokenise, budget, start=start, size=size, across=across))


def default_batch_tokens(device: torch.device) -> int:
    """Padded tokens of a model call: on a CPU what its caches hold, elsewhere what keeps the device busy."""
    return 512 if device.type == "cpu" else 16384


def encode(
    workers: Workers, texts: Sequence[str], request: Request, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Vectors of `texts` in their order, [n, d] fp32. Raises DataError, with its number, for a text without any."""
    import numpy as np

    for number, text in enumerate(texts):
        if not text.strip():
            raise DataError(f"text {number} is empty: there is nothing to embed")
    vectors = np.zeros((len(texts), workers.embedder.dimension), dtype=np.float32)
    for window in request.windows(texts, workers.embedder, start=0, size=WINDOW, across=True):
        _fill(workers, window, request, vectors, 0, on_progress)
        copies = [i for i, number in enumerate(window.first) if number != window.start + i]
        vectors[[window.start + i for i in copies]] = vectors[[window.first[i] for i in copies]]
    return vectors


def stream(
    workers: Workers,
    texts: Iterable[str],
    request: Request,
    on_progress: OnProgress | None = None,
    *,
    start: int = 0,
    size: int = WINDOW,
) -> Iterator[np.ndarray]:
    """Vectors of each `size` texts, [<= size, d] fp32, as soon as they are ready; no more than that is held.

    `start` is the number of the first text. Texts of one window alone are compared, so what a window gives depends on
    nothing before it.
    """
    import numpy as np

    for window in request.windows(texts, workers.embedder, start=start, size=size, across=False):
        vectors = np.zeros((len(window.first), workers.embedder.dimension), dtype=np.float32)
        _fill(workers, window, request, vectors, window.start, on_progress)
        yield vectors[[number - window.start for number in window.first]]


def _fill(
    workers: Workers, window: Window, request: Request, vectors: np.ndarray, origin: int, on_progress: OnProgress | None
) -> None:
    """Encode what the window holds that is new; text i goes to row i - `origin`."""
    tell = on_progress or (lambda count: None)
    known = len(window.first) - sum(batch.texts for batch in window.batches)
    if known:
        tell(known)
    adapter = workers.embedder.route(request.role, *request.tasks)
    for batch, rows in workers.run(window.batches, adapter=adapter):
        vectors[[number - origin for number in batch.rows]] = rows
        tell(batch.texts)
