"""Any model that encodes texts, in the shape of an `Embedder`: what evaluators read of one, and no more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ullme.data.groups import stable_hash
from ullme.errors import ConfigError
from ullme.model.embedder import Embedder


def as_embedder(
    model: Any, instruction: str = "", *, max_length: int | None = None, batch_size: int | None = None
) -> Any:
    """What evaluators read of an `Embedder`, for any model. Raises ConfigError for what gives no vectors of texts.

    `max_length` and `batch_size` are only for models of others, to be refused and to be passed on.
    """
    inner = getattr(model, "_orig_mod", model)  # as torch.compile keeps it
    embedder = getattr(inner, "embedder", inner)
    if isinstance(embedder, Embedder):
        return Instructed(embedder, instruction) if instruction else embedder
    what = type(model).__name__
    if not hasattr(inner, "encode"):
        raise ConfigError(
            f"model: {what} has no `encode` that makes vectors of texts.\n"
            "  A transformers model is wrapped by its name or path: ullme.models.WrappedULLME(PATH)."
        )
    if hasattr(inner, "mteb_model_meta"):
        raise ConfigError(f"model: {what} is made for mteb itself: mteb.evaluate(model, tasks) takes it")
    if max_length is not None:
        raise ConfigError(f"max_length: {what} has its own limit; set it there")
    return Foreign(inner, instruction, {} if batch_size is None else {"batch_size": batch_size})


class Instructed:
    """An embedder whose queries have another instruction than its own."""

    def __init__(self, embedder: Embedder, instruction: str) -> None:
        self.embedder = embedder
        self.instruction = instruction
        self.config = embedder.config
        self.dimension: int = embedder.dimension
        self.encode = embedder.encode

    def prompt(self, role: str, *tasks: str) -> str:
        """The instruction, or for documents the model's own prompt."""
        return str(self.embedder.prompt(role, *tasks)) if role == "document" else self.instruction

    def fingerprint(self) -> str:
        """A hash of model and instruction."""
        return f"{stable_hash(self.embedder.fingerprint(), self.instruction):016x}"


class Foreign:
    """Somebody else's model in the shape of an `Embedder`. Nothing tells its weights: no result of it is reused."""

    def __init__(self, model: Any, instruction: str, options: dict[str, Any]) -> None:
        similarity = getattr(model, "similarity_fn_name", None) or "cosine"
        if similarity not in ("cosine", "dot"):
            raise ConfigError(f"model: {type(model).__name__} compares by {similarity}; cosine and dot are measured")
        self.model = model
        self.instruction = instruction
        self.options = options
        self.config = SimpleNamespace(similarity=str(similarity))
        self.dimension = self._vectors(model.encode, ["dimension"]).shape[1]

    def prompt(self, role: str, *tasks: str) -> str:
        """The instruction, but for documents."""
        return "" if role == "document" else self.instruction

    def fingerprint(self) -> str:
        """Another one every time."""
        return uuid.uuid4().hex[:16]

    def encode(
        self, texts: Sequence[str], *, role: str, instruction: str, on_progress: Callable[[int], None], **limits: Any
    ) -> np.ndarray:
        """Vectors [n, d] in fp32."""
        vectors = self._encode(list(texts), role, instruction)
        on_progress(len(texts))
        return vectors

    def _encode(self, texts: list[str], role: str, instruction: str) -> np.ndarray:
        model = self.model
        if instruction:
            return self._vectors(model.encode, [f"{instruction}{text}" for text in texts])
        ways = {"query": ["encode_query", "encode_queries"], "document": ["encode_document", "encode_corpus"]}
        way = next((way for way in ways.get(role, []) if hasattr(model, way)), "encode")
        rows = [{"title": "", "text": text} for text in texts] if way == "encode_corpus" else texts
        return self._vectors(getattr(model, way), rows)

    def _vectors(self, encode: Callable[..., Any], texts: Sequence[Any]) -> np.ndarray:
        made = encode(texts, **self.options)
        rows = made.detach().float().cpu().numpy() if hasattr(made, "detach") else np.asarray(made, dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(texts):
            raise ConfigError(
                f"model: {type(self.model).__name__} made an array of shape {list(rows.shape)} of {len(texts)} texts;"
                " expected one vector a text"
            )
        return rows
