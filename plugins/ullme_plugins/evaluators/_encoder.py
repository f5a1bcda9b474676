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
    """mteb's `EncoderProtocol` for one task: prompts by role from the model's own table, cosine similarity.

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
        about = {"name": f"ullme/{name}", "revision": revision, "similarity_fn_name": "cosine"}
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
        prompt = self.prompts[role] = self.embedder.prompt(role, task_metadata.name)
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
                    instruction=instruction,
                    on_progress=advance,
                    **self.limits,
                )
        return vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine of every vector of one set with every vector of the other, [n, m]."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine of the vectors pair by pair, [n]."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)


def _unit(vectors: Any) -> Tensor:
    import torch

    return torch.nn.functional.normalize(torch.atleast_2d(torch.as_tensor(vectors)), dim=-1)
