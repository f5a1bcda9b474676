"""The one LightningModule: manual optimisation around the cached step."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from ullme.errors import TrainingError
from ullme.model.embedder import Embedder
from ullme.train.batch import BatchPlan, make_batch
from ullme.train.clip import clip_gradient
from ullme.train.losses import loss_modules
from ullme.train.schedule import factor
from ullme.train.step import CachedStep
from ullme.train.weighted import StepResult, WeightedLoss
from ullme.types import Example

if TYPE_CHECKING:
    from ullme.config.schema import StageConfig


class StageModule(LightningModule):  # type: ignore[misc]
    """Trains `embedder` on `examples` as one stage says.

    Everything random in step s is a function of (seed, stage, s), so that a resumed run continues as the
    uninterrupted one would have; a checkpoint holds trainable weights, optimiser and schedule.
    """

    def __init__(
        self,
        embedder: Embedder,
        losses: Sequence[WeightedLoss],
        examples: Sequence[Example],
        stage: StageConfig,
        seed: int,
        frozen_reference: Embedder | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # checkpoints hold trainable weights only; `on_load_checkpoint` compares the names
        self.embedder = embedder
        self.loss_modules = loss_modules(losses)
        self.examples = examples
        self.stage = stage
        self.seed = zlib.crc32(f"{seed}/{stage.name}".encode())
        trainer = stage.trainer
        embedder.head_rows = trainer.head_rows
        self.plan = BatchPlan(len(examples), trainer.batch_size, self.seed)
        self.step = CachedStep(
            embedder,
            losses,
            chunk_tokens=trainer.chunk_tokens,
            max_tokens=trainer.max_tokens,
            likelihood_fraction=trainer.likelihood_fraction,
            frozen_reference=frozen_reference,
            seed=self.seed,
        )
        self.frozen_reference = frozen_reference  # a sub-module, so that it is moved to the device with the others
        self.result = StepResult(0.0)
        self.grad_norm = 0.0
        self.learning_rate = 0.0

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that this stage changes, those of losses among them."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def configure_optimizers(self) -> Any:
        """AdamW (arXiv:1711.05101) over the trainable parameters, with the stage's schedule."""
        trainer = self.stage.trainer
        optimizer = torch.optim.AdamW(
            self.trainable().values(), lr=trainer.lr, betas=trainer.betas, weight_decay=trainer.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: factor(trainer.schedule, step, warmup=trainer.warmup_steps, total=trainer.max_steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One optimiser step on the rows of `global_step`; what the loader gives is only a count."""
        step = self.global_step
        torch.manual_seed(zlib.crc32(f"{self.seed}/{step}".encode()))
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        rows = make_batch([self.examples[i] for i in self.plan(step)])
        self.result = self.step(rows, step=step)
        limit = self.stage.trainer.grad_clip
        kept = ".\n  The last checkpoint is valid."
        self.grad_norm = clip_gradient(self.trainable().values(), limit, step, rows.ids, kept)
        self.learning_rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trainable weights only: the frozen ones are where they came from."""
        checkpoint["state_dict"] = {name: parameter.detach() for name, parameter in self.trainable().items()}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another set of parameters."""
        saved, here = set(checkpoint["state_dict"]), set(self.trainable())
        if saved != here:
            raise TrainingError(
                f"the checkpoint belongs to another model: {len(saved - here)} of its weights are unknown here and"
                f" {len(here - saved)} of ours are not in it (such as {sorted(saved ^ here)[0]})"
            )
