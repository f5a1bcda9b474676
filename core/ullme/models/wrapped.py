"""The module with the methods that mteb calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ullme.model.comparable import comparable
from ullme.models.module import ULLME

if TYPE_CHECKING:
    import numpy as np


class WrappedULLME(ULLME):
    """A trained model for evaluation: what mteb, now and in its first version, asks of a model.

    As `ULLME`, usually with `model_checkpoint`. `model_revision` is what mteb files results under; default: the
    fingerprint of the weights, so that no result is taken for that of another model.
    """

    model_revision: str | None = None

    def __init__(
        self, model_name_or_path: str, *arguments: Any, model_revision: str | None = None, **options: Any
    ) -> None:
        super().__init__(model_name_or_path, *arguments, **options)
        self.model_revision = model_revision

    def encode(  # type: ignore[override]
        self,
        inputs: str | Sequence[str] | Iterable[Mapping[str, Any]],
        is_query: bool = True,
        batch_size: int | None = None,
        max_length: int | None = None,
        instruction: str = "",
        *,
        task_metadata: Any = None,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Vectors [n, d] of texts or, as mteb 2 calls it, of the texts in batches `{"text": [...]}`.

        Called by mteb, `prompt_type` and `task_metadata` choose the prompt; an empty text gives a zero vector.
        """
        role = getattr(prompt_type, "value", prompt_type) or ("query" if is_query else "document")
        if task_metadata is None:
            return self._encoded(inputs, role, (), batch_size, max_length, instruction)  # type: ignore[arg-type]
        import numpy as np

        role = role if prompt_type is not None else "default"  # a symmetric task has neither queries nor documents
        texts: list[str] = [text for batch in inputs for text in batch["text"]]  # type: ignore[index]
        full = [number for number, text in enumerate(texts) if text.strip()]
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if full:
            tasks = (task_metadata.name, task_metadata.type)
            vectors[full] = self._encoded([texts[i] for i in full], role, tasks, batch_size, max_length, instruction)
        return vectors

    def encode_queries(self, queries: Sequence[str], **options: Any) -> np.ndarray:
        """Vectors of queries, [n, d]. Options as for `encode`."""
        return self.encode(queries, is_query=True, **options)

    def encode_corpus(
        self, corpus: Sequence[str | Mapping[str, str]] | Mapping[str, Sequence[str]], **options: Any
    ) -> np.ndarray:
        """Vectors of passages, [n, d]: texts, or `{"title", "text"}` row by row or column by column."""
        rows: Iterable[Any] = corpus
        if isinstance(corpus, Mapping):
            rows = [dict(zip(corpus, cells, strict=True)) for cells in zip(*corpus.values(), strict=True)]
        texts = [row if isinstance(row, str) else f"{row.get('title') or ''} {row['text']}".strip() for row in rows]
        return self.encode(texts, is_query=False, **options)

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb files results under."""
        from mteb.models.model_meta import ModelMeta

        about = {
            "name": "ullme/" + re.sub(r"[^\w.-]+", "-", self.lora_name or "model"),
            "revision": self.model_revision or self.embedder.fingerprint(),
            "similarity_fn_name": self.embedder.config.similarity,
            "embed_dim": self.dimension,
        }
        return ModelMeta.create_empty({**about, "framework": ["PyTorch"], "modalities": ["text"]})

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """How alike every vector of one set is to every vector of the other, [n, m]."""
        return self._compared(embeddings1) @ self._compared(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """How alike vectors are pair by pair, [n]."""
        return (self._compared(embeddings1) * self._compared(embeddings2)).sum(-1)

    def _compared(self, vectors: Any) -> Tensor:
        return comparable(vectors, self.embedder.config.similarity)
