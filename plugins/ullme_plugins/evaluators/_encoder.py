"""An `Embedder` as mteb wants to see one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ullme import Embedder
    from ullme_plugins.evaluators._surroundings import Show


class Encoder:
    """mteb's `EncoderProtocol` for one task: prompts by role from the model's own table, the model's own similarity.

    Queries and documents have the roles `query` and `document`, texts of a symmetric task the role `default`. An empty
    text gives a zero vector, whose similarity with anything is 0. `instructions` maps query texts to their own.
    """

    def __init__(
        self,
        embedder: Embedder,
        name: str,
        revision: str,
        *,
        instructions: Mapping[str, str],
        max_tokens: int | None,
        batch_tokens: int,
        show: Show,
    ) -> None:
        from mteb.models.model_meta import ModelMeta

        self.embedder = embedder
        self.instructions = instructions
        self.limits: dict[str, Any] = {"max_tokens": max_tokens, "batch_tokens": batch_tokens}
        self.show = show
        self.prompts: dict[str, str] = {}
        self.texts: dict[str, int] = {}
        self.empty_texts = 0
        about = {"name": f"ullme/{name}", "revision": revision, "similarity_fn_name": embedder.config.similarity}
        self.mteb_model_meta = ModelMeta.create_empty({**about, "framework": ["PyTorch"], "modalities": ["text"]})

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Vectors [n, d] of the texts in the batches of `inputs`."""
        import numpy as np

        role = "default" if prompt_type is None else str(prompt_type.value)
        tasks = (task_metadata.name, str(task_metadata.type))
        prompt = self.prompts[role] = self.embedder.prompt(role, *tasks)
        texts = [text for batch in inputs for text in batch["text"]]
        self.texts[role] = self.texts.get(role, 0) + len(texts)
        by_instruction: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            if text.strip():
                own = self.instructions.get(text, prompt) if role == "query" else prompt
                by_instruction.setdefault(own, []).append(index)
        vectors = np.zeros((len(texts), self.embedder.dimension), dtype=np.float32)
        full = sum(map(len, by_instruction.values()))
        self.empty_texts += len(texts) - full
        with self.show(f"{task_metadata.name} {role}", full) as advance:
            for instruction, rows in by_instruction.items():
                vectors[rows] = self.embedder.encode(
                    [texts[row] for row in rows],
                    role=role,
                    tasks=tasks,
                    instruction=instruction,
                    on_progress=advance,
                    **self.limits,
                )
        return vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of every vector of one set with every vector of the other, [n, m]."""
        return self._compared(embeddings1) @ self._compared(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Similarity of the vectors pair by pair, [n]."""
        return (self._compared(embeddings1) * self._compared(embeddings2)).sum(dim=-1)

    def _compared(self, vectors: Any) -> Tensor:
        from ullme import comparable  # which imports torch

        return comparable(vectors, self.embedder.config.similarity)
