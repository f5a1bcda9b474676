"""What flows between the pieces: examples, requests, loaded backbones, reports. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ullme.model.reference import Reference


DTYPES = ("auto", "float32", "bfloat16", "float16")
"""What encoding may compute in; `auto` is bfloat16 where the machine has instructions for it, else float32."""


@dataclass(frozen=True)
class Example:
    """One training row.

    Rows of one `group` never serve as each other's negatives: by default the group is that of the passages, so that
    two questions answered by the same passage are in one group.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    instruction: str = ""
    id: str = ""
    group: str = ""


@dataclass(frozen=True)
class Vector:
    """Request for one vector per text of a role (`query` or `document`), [n, d].

    `view` numbers independent forwards of the same texts (their dropout differs); `layer` picks the hidden state that
    is pooled, as transformers numbers them (-1 is the last, after the final norm).
    """

    role: str
    view: int = 0
    layer: int = -1


@dataclass(frozen=True)
class Likelihood:
    """Request for log p(target | prefix), summed over target tokens, with the number of those tokens.

    `attention` is a mode of the model's `attention:` section. `pairs`: `own` scores every candidate of a query
    (positives and negatives), `positives` only the positives. `reference` asks for the same number under the
    original model, as it was before any stage of training.
    """

    prefix: str
    target: str
    attention: str = "generate"
    pairs: Literal["own", "positives"] = "own"
    reference: bool = False


Request = Vector | Likelihood


@dataclass
class LoadedBackbone:
    """A model family's answer: weights, tokenizer and the few facts that differ from family to family.

    `body` maps token ids to hidden states (`.last_hidden_state`, [B, T, hidden_size]). `head` maps hidden states to
    logits and is None for an encoder; `logits` is what the family does to them afterwards (soft-capping, scaling).
    `blocks` are the layers, in order, that the attention probe looks at; their classes are what FSDP would wrap.

    What attention that looks ahead must know: `recurrent` names parts that no attention can make bidirectional
    (state-space or convolution layers), accepted only with `allow_partial`; `refusal` says why this model must not look
    ahead at all and what to do instead; `symmetric_bias`, called once with a function that tells whether the current
    call looks ahead, makes positional biases symmetric (ALiBi); `symmetric_length` is the longest text for which
    every token sees every other (sparse attention); `flash` is False if layers drop what flash kernels must be told.
    """

    model: nn.Module
    body: nn.Module
    head: nn.Module | None
    tokenizer: Any
    hidden_size: int
    max_length: int
    blocks: Sequence[nn.Module]
    logits: Callable[[Tensor], Tensor] | None = None
    recurrent: tuple[str, ...] = ()
    allow_partial: bool = False
    refusal: str | None = None
    symmetric_bias: Callable[[Callable[[], bool]], None] | None = None
    symmetric_length: int | None = None
    flash: bool = True
    position_offset: int = 0
    """What a family adds to position ids that count from 0 (RoBERTa counts from the padding id + 1)."""
    lora_targets: str | list[str] = "all-linear"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the `model:` section that come with the weights (pooler, heads, prompts ...); the YAML's own win."""

    @property
    def quantised(self) -> bool:
        """Whether the weights are quantised: they stay where they were placed, take no adapter in, and do not train."""
        return getattr(self.model, "quantization_method", None) is not None


@dataclass(frozen=True)
class Layout:
    """What an attention mode may read about the tokens of a call, each [B, T]; padding is known from elsewhere.

    `free` marks tokens that a mode with one-way and two-way parts lets see each other: those that are pooled, or all
    but the target of a likelihood. `document` numbers the texts that share a row; they never see each other.
    """

    free: Tensor | None = None
    document: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """One number of a report, with a confidence interval where one was computed."""

    task: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    model: str = ""


@dataclass
class EvalReport:
    """What an evaluator found: scores for the table, anything else as JSON under `details`, files written."""

    evaluator: str
    when: str
    scores: list[Score] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class EvalContext:
    """Where and for whom an evaluator works: its folder, the moment (`before` or `after` training), the run's seed."""

    out_dir: Path
    when: str = "after"
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class ExportContext:
    """What an exporter may know beside the model: the run that trained it, the dtype asked for, whom to tell.

    `run_dir` holds ullme.yaml, stages/, before/ and after/ where the model comes from a run. `reference` is what the
    exported copy will be held to; an exporter that knows what a server must be sent writes it with its own prompts.
    """

    reference: Reference
    run_dir: Path | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    say: Callable[[str], None] = print
