"""Training as the paper's listing 2 has it: GRL with cached gradients, over any iterable of batches.

trainer = GradCacheTrainer(con_loss_type="NTXentLoss", gen_loss_type="dpo", use_kl_loss=True)
for _ in range(3):
    print(trainer.fit_epoch(model=model, train_loader=train_dataloader))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ullme.config.load import load_section
from ullme.config.section import Section
from ullme.config.slots import Choice, Slot
from ullme.data.batches import as_examples, collate
from ullme.errors import ConfigError, DataError
from ullme.plugins.arguments import plugin_name
from ullme.plugins.registry import Registry

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ullme.model.embedder import Embedder
    from ullme.train.step import CachedStep
    from ullme.train.weighted import StepResult
    from ullme.types import Example

__all__ = ["DEFAULT", "GradCacheTrainer", "collate"]

DEFAULT = "default"
"""As a loss: the one that the plugin index names."""


class _Losses(Section):
    losses: list[Annotated[Choice, Slot("loss")]] = Field(min_length=1, description="summed by their weights")


class GradCacheTrainer:
    """Contrastive, generative and agreement loss in one step, in the memory of one chunk (ULLME, section 3.2.2).

    L = w_con L_con + w_gen L_gen + w_kl L_kl, by AdamW (arXiv:1711.05101). Optimiser and step count live as long as the
    trainer, so that epochs continue each other. One device, without torch.distributed.

    Args:
        con_loss_type: name of a loss over vectors; None for none. NT-Xent, the paper's, is the index's default.
        gen_loss_type: name of a loss over likelihoods: sft, dpo, ...
        use_kl_loss: the index's default agreement of vectors and likelihoods.
        temperature, beta: of the contrastive and of the generative loss; default: the plugin's own.
        con_options, gen_options, kl_options: any other settings of these losses (`ullme show-plugin loss NAME`).
        weights: w_con, w_gen and w_kl; the paper's by default.
        lr, weight_decay, betas, grad_clip: of AdamW; `grad_clip` is the largest norm of the gradient, None for any.
        scheduler: makes a torch scheduler of the optimiser, stepped after every batch; default: a constant rate.
        chunk_tokens: padded tokens a model call: bounds memory, not the batch, and does not change the result.
        max_length: tokens kept of a text; default: the model's.
        likelihood_fraction: of a batch's queries, drawn by `seed`, whose likelihoods are computed.

    Raises UnknownPlugin for a loss that is not installed and ConfigError for settings that it does not take.
    """

    def __init__(
        self,
        con_loss_type: str | None = DEFAULT,
        gen_loss_type: str | None = None,
        use_kl_loss: bool = False,
        *,
        temperature: float | None = None,
        beta: float | None = None,
        con_options: Mapping[str, Any] | None = None,
        gen_options: Mapping[str, Any] | None = None,
        kl_options: Mapping[str, Any] | None = None,
        weights: tuple[float, float, float] = (1.0, 0.5, 1.0),
        lr: float = 2e-4,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        grad_clip: float | None = 1.0,
        scheduler: Callable[[Optimizer], Any] | None = None,
        chunk_tokens: int = 2048,
        max_length: int | None = None,
        likelihood_fraction: float = 1.0,
        seed: int = 0,
    ) -> None:
        registry = Registry()
        defaults = registry.index.defaults
        asked: tuple[tuple[str, str | None, str | None, Mapping[str, Any] | None, dict[str, Any]], ...] = (
            ("con_loss_type", con_loss_type, defaults.get("contrastive"), con_options, {"temperature": temperature}),
            ("gen_loss_type", gen_loss_type, None, gen_options, {"beta": beta}),
            ("use_kl_loss", DEFAULT if use_kl_loss else None, defaults.get("agreement"), kl_options, {}),
        )
        rows = []
        for weight, (argument, name, default, options, short) in zip(weights, asked, strict=True):
            given = {**{key: value for key, value in short.items() if value is not None}, **(options or {})}
            name = default if name == DEFAULT else name
            if name is not None:
                rows.append({"use": plugin_name(registry, "loss", argument, name), "weight": weight, **given})
            elif given:
                raise ConfigError(f"{', '.join(given)}: given, but {argument} names no loss that would use it")
        self.losses: Sequence[Choice] = load_section(_Losses, {"losses": rows}, "GradCacheTrainer", registry).losses
        self.steps = 0
        """Optimiser steps so far."""
        self._adam: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "betas": betas}
        self._grad_clip = grad_clip
        self._scheduler = scheduler
        self._limits: dict[str, Any] = {
            "chunk_tokens": chunk_tokens,
            "max_tokens": max_length,
            "likelihood_fraction": likelihood_fraction,
            "seed": seed,
        }
        self._work: _Work | None = None

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimiser; None before the first epoch."""
        return None if self._work is None else self._work.optimizer

    def fit_epoch(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        *,
        on_step: Callable[[int, StepResult], None] | None = None,
    ) -> dict[str, float]:
        """One pass over `train_loader`; the mean over its batches of the weighted sum, `loss`, and of each loss.

        A batch is a list of `Example`, a list of rows `{"query", "positive", "negative"}`, or a dict of such columns; a
        torch DataLoader over rows takes `collate_fn=collate`. `on_step` is told the number of each step, from 0, and
        what it computed. The model, a `ULLME` or an `Embedder`, is trained in place and left in the mode it was in.

        Raises DataError for a batch that cannot be used, ConfigError for a model that cannot be trained so, and
        TrainingError for a loss or a gradient that is not finite.
        """
        work = self._work or _Work(_embedder(model), self)
        if work.embedder is not _embedder(model):
            raise ConfigError("fit_epoch: this trainer holds the optimiser of another model; make one for this model")
        self._work = work
        totals: dict[str, float] = {}
        batches = 0
        was_training = model.training
        model.train()
        try:
            for batch in train_loader:
                rows = as_examples(batch)
                work.check(rows, self.steps)
                result = work.step(rows, self.steps, self._grad_clip)
                for name, value in {"loss": result.loss, **result.losses}.items():
                    totals[name] = totals.get(name, 0.0) + value
                if on_step is not None:
                    on_step(self.steps, result)
                self.steps += 1
                batches += 1
        finally:
            model.train(was_training)
            work.optimizer.zero_grad()
        if not batches:
            raise DataError("train_loader gave no batch; an iterator that was read to its end gives none again")
        return {name: total / batches for name, total in totals.items()}


class _Work:
    """What belongs to one model: the step, the optimiser and, where all weights train, the model as it was."""

    def __init__(self, embedder: Embedder, trainer: GradCacheTrainer) -> None:
        import torch

        from ullme.train.losses import build_losses, check_model, check_precision, loss_modules, needing_negatives
        from ullme.train.step import CachedStep

        losses = build_losses(trainer.losses)
        copied = check_model(losses, embedder, "fit_epoch")
        check_precision(embedder, "fit_epoch")
        self.needing = needing_negatives(trainer.losses)
        reference = copy.deepcopy(embedder).requires_grad_(False) if copied else None
        own = loss_modules(losses).to(embedder.device)
        self.parameters = [p for p in (*embedder.parameters(), *own.parameters()) if p.requires_grad]
        if not self.parameters:
            raise ConfigError("fit_epoch: no weight of this model is trainable")
        self.embedder = embedder
        self.cached: CachedStep = CachedStep(embedder, losses, frozen_reference=reference, **trainer._limits)
        self.optimizer: Optimizer = torch.optim.AdamW(self.parameters, **trainer._adam)
        self.schedule = trainer._scheduler and trainer._scheduler(self.optimizer)

    def check(self, rows: Sequence[Example], number: int) -> None:
        """Raise DataError for rows that a loss cannot use."""
        lacking = [row.id for row in rows if not row.negatives]
        if self.needing and lacking:
            raise DataError(
                f"step {number}: {' and '.join(self.needing)} compare a query's positive with negatives of its own, but"
                f" {len(lacking)} of {len(rows)} rows have none (the first: {lacking[0]})"
            )

    def step(self, examples: Sequence[Example], number: int, limit: float | None) -> StepResult:
        from ullme.train.batch import make_batch
        from ullme.train.clip import clip_gradient

        self.optimizer.zero_grad()
        batch = make_batch(examples)
        result = self.cached(batch, step=number)
        clip_gradient(self.parameters, limit, number, batch.ids)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return result


def _embedder(model: Any) -> Embedder:
    """The embedder in a model, compiled or not. Raises ConfigError for what holds none or is spread over devices."""
    from ullme.model.embedder import Embedder

    inner = getattr(model, "_orig_mod", model)  # as torch.compile keeps it; the step calls the embedder inside
    found = getattr(inner, "embedder", inner)
    if isinstance(found, Embedder):
        return found
    what = type(model).__name__
    if hasattr(model, "module"):
        raise ConfigError(f"fit_epoch: {what} shares gradients between devices; this trains on one: pass its .module")
    raise ConfigError(f"fit_epoch: expected a ullme.models.ULLME or a ullme.Embedder, found {what}")
