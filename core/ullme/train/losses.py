"""From the `losses:` of a stage to weighted functions, and the checks that need no weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from ullme.errors import ConfigError, DataError
from ullme.model.embedder import Embedder
from ullme.model.switches import HALF
from ullme.train.weighted import WeightedLoss
from ullme.types import Example, Likelihood

if TYPE_CHECKING:
    from ullme.config.schema import TrainerConfig
    from ullme.config.slots import Choice, OnBuilt
    from ullme.interfaces import Loss


def build_losses(choices: Sequence[Choice], on_built: OnBuilt | None = None) -> list[WeightedLoss]:
    """Weighted functions, labelled by plugin name; the n-th of one name is labelled `name-n`."""
    seen: Counter[str] = Counter()
    built = []
    for choice in choices:
        seen[choice.name] += 1
        label = choice.name if seen[choice.name] == 1 else f"{choice.name}-{seen[choice.name]}"
        loss: Loss = choice.build()
        if on_built is not None:
            on_built(choice.kind, choice.name, loss)
        built.append(WeightedLoss(label, loss.config.weight, tuple(loss.needs), loss.build(), choice.who))
    return built


def loss_modules(losses: Sequence[WeightedLoss]) -> nn.ModuleDict:
    """The losses that have parameters of their own, by label."""
    return nn.ModuleDict({loss.label: loss.function for loss in losses if isinstance(loss.function, nn.Module)})


def check_data(choices: Sequence[Choice], examples: Sequence[Example], stage: str) -> None:
    """Refuse data that cannot give what the losses need, before any weights are read. Raises DataError."""
    lacking = [example for example in examples if not example.negatives]
    if lacking and (needing := needing_negatives(choices)):
        raise DataError(
            f"stage {stage!r}: loss {needing[0]!r} compares a positive with negatives of the same query, but"
            f" {len(lacking)} of {len(examples)} rows have none (the first: {lacking[0].id}).\n"
            "  Give the rows `negatives`, or let the source draw some: `sample_negatives: 1`."
        )


def needing_negatives(choices: Sequence[Choice]) -> list[str]:
    """The losses for which every query must bring a negative of its own."""
    return [choice.name for choice in choices if choice.build().needs_negatives]


def check_model(losses: Sequence[WeightedLoss], embedder: Embedder, where: str) -> bool:
    """Refuse losses that the model cannot serve; say whether they need a copy of the original model as reference."""
    likelihoods = [(loss, r) for loss in losses for r in loss.needs if isinstance(r, Likelihood)]
    if likelihoods and embedder.loaded.head is None:
        raise ConfigError(
            f"{where}: loss {likelihoods[0][0].label!r} reads likelihoods, which an encoder does not give"
        )
    return embedder.adapter is None and any(request.reference for _, request in likelihoods)


def check_checkpointing(embedder: Embedder, trainer: TrainerConfig, where: str) -> None:
    """Refuse to recompute layers when the adapter of another task may be active by then."""
    adapter = embedder.config.adapter
    if trainer.gradient_checkpointing and adapter is not None and adapter.tasks:
        raise ConfigError(
            f"{where}: gradient_checkpointing recomputes layers when another task's adapter may be active;"
            " switch one of the two off"
        )


def check_precision(embedder: Embedder, where: str) -> None:
    """Refuse to train half-precision weights themselves."""
    if embedder.loaded.quantised:
        if embedder.adapter is None:
            raise ConfigError(
                f"{where}: quantised weights cannot be trained themselves.\n  Give the model an `adapter:`."
            )
        if embedder.device.type == "cpu":  # bitsandbytes packs them for inference there: gradients would be wrong
            raise ConfigError(f"{where}: quantised weights pass no gradient on a CPU.\n  Leave out `quantization:`.")
    dtype = embedder.loaded.model.dtype
    if embedder.adapter is None and dtype in HALF:
        raise ConfigError(
            f"{where}: all weights would be trained in {dtype}, where small updates are lost."
            "\n  Give the model an `adapter:` or `dtype: float32` with `precision: bf16-mixed`."
        )
