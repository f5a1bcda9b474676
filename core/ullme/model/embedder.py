"""The model of ullme: a vector and a likelihood for a text, from one backbone under switchable attention."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ullme.errors import ConfigError, DataError
from ullme.model.likelihood import token_log_probs
from ullme.model.states import hidden_states
from ullme.model.template import Template, default_template
from ullme.model.tokens import Tokens, chunks, pad

if TYPE_CHECKING:
    import numpy as np

    from ullme.config.schema import ModelConfig
    from ullme.interfaces import AttentionPatcher
    from ullme.types import LoadedBackbone

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class VectorCall:
    """Ask `Embedder.forward` for one vector per text, [n, d] in fp32."""

    texts: Sequence[Tokens]
    layer: int = -1


@dataclass(frozen=True)
class LikelihoodCall:
    """Ask `Embedder.forward` for log p of each text's target tokens, summed, [n] in fp32."""

    texts: Sequence[Tokens]
    attention: str = "generate"


class Embedder(nn.Module):
    """Template -> backbone under an attention mode -> pooler -> [truncate dimensions] -> [normalise].

    Every use of the weights goes through `forward`, so that wrappers (DDP, FSDP, torch.compile) see it. Attention
    modes are safe under threads; `encode`, `score` and `reference` switch the whole module and are not. Built by
    `ullme.build_embedder`, read from a directory by `from_directory`.
    """

    def __init__(
        self,
        config: ModelConfig,
        loaded: LoadedBackbone,
        modes: Mapping[str, AttentionPatcher],
        pooler: Callable[[Tensor, Tensor], Tensor],
        adapter: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.loaded = loaded
        self.modes = dict(modes)
        self.pooler = pooler
        self.adapter = adapter
        self.model = loaded.model if adapter is None else None  # an adapter holds the model: one owner for the weights
        self.head_rows = 256
        template = default_template(loaded.tokenizer, generates=loaded.head is not None)
        if config.template is not None:
            likelihood = config.template.likelihood or template.likelihood
            template = config.template.model_copy(update={"likelihood": likelihood})
        self.template = Template(template, loaded.tokenizer, config.max_tokens, loaded.max_length)

    @classmethod
    def from_directory(cls, path: str | Path, *, device: str | None = None) -> Embedder:
        """The embedder saved in `path`. Raises AssetError when the directory holds none."""
        from ullme.model.storage import load

        return load(Path(path), device)

    def save(self, path: str | Path) -> None:
        """Write a self-contained directory that `from_directory` and `ullme encode` read."""
        from ullme.model.storage import save

        save(self, Path(path))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.loaded.body.parameters()).device

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.config.dimensions or self.loaded.hidden_size

    # ---- the two numbers ------------------------------------------------------------------------------------------

    def forward(self, call: VectorCall | LikelihoodCall) -> Tensor:
        """Vectors [n, d] or summed log-probabilities [n] of the texts in `call`, in fp32, with gradient if enabled."""
        with self._precision():
            return self._vectors(call) if isinstance(call, VectorCall) else self._log_probs(call)

    def _vectors(self, call: VectorCall) -> Tensor:
        batch = pad(call.texts, self.device)
        with self.modes["embed"].active():
            states = hidden_states(self.loaded, batch.ids, batch.mask, call.layer)
        vectors = self.pooler(states.float(), batch.pool)
        if self.config.dimensions:
            vectors = vectors[:, : self.config.dimensions]
        return nn.functional.normalize(vectors, dim=-1) if self.config.normalize else vectors

    def _log_probs(self, call: LikelihoodCall) -> Tensor:
        if self.loaded.head is None:
            raise ConfigError(f"{type(self.loaded.model).__name__} has no language-model head: it gives no likelihoods")
        batch = pad(call.texts, self.device)
        with self.modes[call.attention].active():
            states = hidden_states(self.loaded, batch.ids, batch.mask)
        row, column = batch.target[:, 1:].nonzero(as_tuple=True)  # a first token has nothing before it to predict it
        scores = token_log_probs(
            self.loaded.head, states[row, column], batch.ids[row, column + 1], self.head_rows, self.loaded.logits
        )
        return scores.new_zeros(len(call.texts)).index_add(0, row, scores)

    def _precision(self) -> AbstractContextManager[Any]:
        """fp32 adapters on a half-precision base compute in the base's dtype, as autocast would have it.

        Without the weight cache: a cast made in a pass without gradient must not serve one with gradient.
        """
        dtype, kind = next(self.loaded.body.parameters()).dtype, self.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        elif self.adapter is None or dtype not in HALF:
            return nullcontext()
        return torch.autocast(kind, dtype=dtype, cache_enabled=False)

    # ---- use ------------------------------------------------------------------------------------------------------

    def prompt(self, role: str, task: str = "") -> str:
        """The instruction for a role: that of the task and role, of the task, of the role, or none."""
        prompts = self.config.prompts
        return next((prompts[key] for key in (f"{task}-{role}", task, role) if key in prompts), "")

    @torch.no_grad()
    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "document",
        instruction: str | None = None,
        max_tokens: int | None = None,
        batch_tokens: int = 4096,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Vectors of `texts` in their order, [n, d] fp32.

        `instruction` replaces the prompt table's entry for the role. Raises DataError for an empty text.
        `on_progress` is told how many texts each batch held.
        """
        import numpy as np

        for index, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"text {index} is empty: there is nothing to embed")
        prompt = self.prompt(role) if instruction is None else instruction
        tokens = self.template.embed(texts, role, prompt, max_tokens)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for batch, rows in self._evaluated(tokens, batch_tokens, VectorCall):
            vectors[batch] = rows
            if on_progress is not None:
                on_progress(len(batch))
        return vectors

    @torch.no_grad()
    def score(
        self, pairs: Sequence[tuple[str, str]], *, attention: str = "generate", batch_tokens: int = 4096
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(target | prefix) summed over the target's tokens, and their number, per (prefix, target): [n], [n]."""
        import numpy as np

        tokens = self.template.likelihood(pairs)
        totals = np.zeros(len(pairs), dtype=np.float32)
        for batch, rows in self._evaluated(tokens, batch_tokens, lambda texts: LikelihoodCall(texts, attention)):
            totals[batch] = rows
        return totals, np.array([sum(text.target[1:]) for text in tokens])

    def _evaluated(
        self, tokens: Sequence[Tokens], budget: int, call: Callable[..., Any]
    ) -> Iterator[tuple[list[int], Any]]:
        with self.evaluating():
            for batch in chunks([len(text) for text in tokens], budget):
                yield batch, self(call([tokens[i] for i in batch])).cpu().numpy()

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
        """The model as it was before training: adapter and dropout off. Only without gradient.

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

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def fingerprint(self) -> str:
        """A hash of weights, template and prompts: the same exactly when the vectors are."""
        place = {"path", "parts", "sha256", "revision"}  # where the weights came from says nothing that they do not
        settings = self.config.model_dump(mode="json")
        settings["backbone"] = {key: value for key, value in settings["backbone"].items() if key not in place}
        digest = hashlib.sha256(repr((settings, self.template.config)).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]
