"""The model of ullme: a vector and a likelihood for a text, from one backbone under switchable attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ullme.errors import ConfigError
from ullme.model.likelihood import token_log_probs
from ullme.model.probe import why_not_packed
from ullme.model.states import hidden_states
from ullme.model.switches import Switches
from ullme.model.template import Template, complete
from ullme.model.tokens import Packed, Padded, Tokens, chunks, pack, pad
from ullme.types import Layout

if TYPE_CHECKING:
    import numpy as np

    from ullme.config.schema import ModelConfig
    from ullme.interfaces import AttentionPatcher
    from ullme.types import LoadedBackbone


@dataclass(frozen=True)
class VectorCall:
    """Ask `Embedder.forward` for one vector per text, [n, d] in fp32.

    `layer` -1 leaves the choice of hidden states to the pooler. `adapter` names one of `adapter.tasks`. `packed` puts
    the texts one behind the other into rows of that many tokens; the vectors stay the same.
    """

    texts: Sequence[Tokens]
    layer: int = -1
    adapter: str | None = None
    packed: int | None = None


@dataclass(frozen=True)
class LikelihoodCall:
    """Ask `Embedder.forward` for log p of each text's target tokens, summed, [n] in fp32. `packed` as for vectors."""

    texts: Sequence[Tokens]
    attention: str = "generate"
    adapter: str | None = None
    packed: int | None = None


class Embedder(Switches):
    """Template -> backbone under an attention mode -> pooler -> [heads] -> [truncate dimensions] -> [normalise].

    Every use of the weights goes through `forward`, so that wrappers (DDP, FSDP, torch.compile) see it. Attention
    modes are safe under threads; `encode`, `score` and `reference` switch the whole module and are not. Built by
    `ullme.build_embedder`, read from a directory by `from_directory`.
    """

    def __init__(
        self,
        config: ModelConfig,
        loaded: LoadedBackbone,
        modes: Mapping[str, AttentionPatcher],
        pooler: Callable[..., Tensor],
        adapter: nn.Module | None = None,
        heads: Sequence[nn.Module] = (),
        *,
        layers: Sequence[int] = (-1,),
        reads_positions: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.loaded = loaded
        self.modes = dict(modes)
        self.pooler = pooler
        self.heads = nn.ModuleList(heads)
        self.layers = tuple(layers)
        self.reads_positions = reads_positions
        self.adapter = adapter
        self.model = loaded.model if adapter is None else None  # an adapter holds the model: one owner for the weights
        self.head_rows = 256
        self._packable: dict[str, str] = {}  # why a mode cannot have rows that texts share, asked once
        template = complete(config.template, loaded.tokenizer, generates=loaded.head is not None)
        self.template = Template(template, loaded.tokenizer, config.max_tokens, loaded.max_length)

    @classmethod
    def from_directory(cls, path: str | Path, *, device: str | None = None) -> Embedder:
        """The embedder saved in `path`. Raises AssetError when the directory holds none."""
        from ullme.model.storage import load

        return load(Path(path), device)

    def save(self, path: str | Path, *, check: bool = True) -> None:
        """Write a self-contained directory that `from_directory` and `ullme encode` read.

        With `check` it is read back first; raises ExportError, and leaves nothing, if the copy gives other vectors.
        """
        from ullme.model.storage import save

        save(self, Path(path), check=check)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.config.dimensions or full_size(self.config, self.loaded)

    # ---- the two numbers ------------------------------------------------------------------------------------------

    def forward(self, call: VectorCall | LikelihoodCall) -> Tensor:
        """Vectors [n, d] or summed log-probabilities [n] of the texts in `call`, in fp32, with gradient if enabled."""
        with self.routed(call.adapter):
            return self._vectors(call) if isinstance(call, VectorCall) else self._log_probs(call)

    def _vectors(self, call: VectorCall) -> Tensor:
        layers = self.layers if call.layer == -1 else (call.layer,)
        states, batch = self._states(call, "embed", layers)
        with torch.autocast(self.device.type, enabled=False):
            return self.pooled(states, batch.mask, batch.pool)

    def pooled(self, states: Tensor, mask: Tensor, pool: Tensor) -> Tensor:
        """Vectors [n, d] in fp32 of states [n, T, d]: pooler, heads, dimensions, norm. `mask` and `pool` are [n, T]."""
        positions = ((mask.cumsum(-1) - 1).clamp(min=0),) if self.reads_positions else ()
        vectors = self.pooler(states.float(), pool, *positions)
        for choice, head in zip(self.config.heads, self.heads, strict=True):
            if self.training or choice.config.use_in == "always":
                vectors = head(vectors)
        if self.config.dimensions:
            vectors = vectors[:, : self.config.dimensions]
        return nn.functional.normalize(vectors, dim=-1) if self.config.normalize else vectors

    def _log_probs(self, call: LikelihoodCall) -> Tensor:
        if self.loaded.head is None:
            raise ConfigError(f"{type(self.loaded.model).__name__} has no language-model head: it gives no likelihoods")
        states, batch = self._states(call, call.attention, (-1,))
        row, column = batch.target[:, 1:].nonzero(as_tuple=True)  # a first token has nothing before it to predict it
        with self.precision():
            scores = token_log_probs(
                self.loaded.head, states[row, column], batch.ids[row, column + 1], self.head_rows, self.loaded.logits
            )
        return scores.new_zeros(len(call.texts)).index_add(0, row, scores)

    def _states(self, call: VectorCall | LikelihoodCall, mode: str, layers: Sequence[int]) -> tuple[Tensor, Padded]:
        """Hidden states [n, T, d] of the call's texts, and the texts as a padded batch."""
        batch = pad(call.texts, self.device)
        shared = None if call.packed is None else self._pack(call.texts, call.packed, mode)
        rows = shared or batch
        free = rows.pool if mode == "embed" else ~rows.target
        layout = Layout(free, shared.document if shared else None)
        positions = shared.positions if shared else None
        with self.precision(), self.modes[mode].active(layout):
            states = hidden_states(self.loaded, rows.ids, rows.mask, layers, positions)
        return (states.flatten(0, 1)[shared.index] if shared else states), batch

    def _pack(self, texts: Sequence[Tokens], width: int, mode: str) -> Packed:
        if mode not in self._packable:
            with self.precision():
                self._packable[mode] = why_not_packed(self.loaded, self.modes[mode])
        if reason := self._packable[mode]:
            raise ConfigError(f"{type(self.loaded.body).__name__} {reason}: its texts cannot share a row")
        return pack(texts, width, self.device)

    # ---- use ------------------------------------------------------------------------------------------------------

    def prompt(self, role: str, *tasks: str) -> str:
        """The instruction for a role: that of a task and role, of a task, of the role, or none; earlier tasks first."""
        return _looked_up(self.config.prompts, role, tasks) or ""

    def route(self, role: str, *tasks: str) -> str | None:
        """The adapter of `adapter.tasks` that serves a role, looked up as prompts are; None where there is only one."""
        adapter = self.config.adapter
        if adapter is None or not adapter.tasks:
            return None
        known = {**{name: name for name in adapter.tasks}, **adapter.route}
        return _looked_up(known, role, tasks) or known.get("default", adapter.tasks[0])

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "document",
        tasks: Sequence[str] = (),
        instruction: str | None = None,
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        on_progress: Callable[[int], None] | None = None,
        dtype: str | None = None,
        devices: Sequence[str] | None = None,
        compile: bool = False,
    ) -> np.ndarray:
        """Vectors of `texts` in their order, [n, d] fp32. Equal texts are encoded once.

        `tasks` (an mteb task's name, then its type) look up prompt and adapter before the role does; `instruction`
        replaces the prompt table's entry. Raises DataError, with the number of the text, for an empty one.
        `on_progress` is told how many texts each batch answered. `batch_tokens`: padded tokens a model call, by
        default 512 on a CPU and 16,384 elsewhere. `dtype`: auto (bfloat16 where it is native), float32, bfloat16 or
        float16, by default that of the weights; another one makes a copy for the call. `devices`: one thread each,
        by default its own GPU or the CPU as often as torch has threads. `compile`: the layers are compiled, which takes
        some seconds and pays off over thousands of texts.
        """
        from ullme.model.encoding import Request, encode
        from ullme.model.workers import Workers

        workers = Workers(self, devices=devices, dtype=dtype, compile=compile)
        return encode(workers, texts, Request(role, tuple(tasks), instruction, max_tokens, batch_tokens), on_progress)

    @torch.no_grad()
    def score(
        self, pairs: Sequence[tuple[str, str]], *, attention: str = "generate", batch_tokens: int = 4096
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(target | prefix) summed over the target's tokens, and their number, per (prefix, target): [n], [n]."""
        import numpy as np

        tokens = self.template.likelihood(pairs)
        totals = np.zeros(len(pairs), dtype=np.float32)
        with self.evaluating():
            for batch in chunks([len(text) for text in tokens], batch_tokens):
                totals[batch] = self(LikelihoodCall([tokens[i] for i in batch], attention)).cpu().numpy()
        return totals, np.array([sum(text.target[1:]) for text in tokens])

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def fingerprint(self) -> str:
        """A hash of everything that makes the vectors: weights, architecture, tokenizer, template, settings.

        Where the weights came from is no part of it: a saved copy has the fingerprint of its original.
        """
        from ullme.model.fingerprint import fingerprint

        return fingerprint(self)


def full_size(config: ModelConfig, loaded: LoadedBackbone) -> int:
    """Length of a vector before `dimensions` cuts it: what the heads in use make of the hidden size."""
    size = loaded.hidden_size
    for choice in config.heads:
        if choice.config.use_in == "always":
            size = choice.build().out_size(size)
    return size


def _looked_up(table: Mapping[str, str], role: str, tasks: Sequence[str]) -> str | None:
    keys = [key for task in tasks for key in (f"{task}-{role}", task)]
    return next((table[key] for key in (*keys, role) if key in table), None)
