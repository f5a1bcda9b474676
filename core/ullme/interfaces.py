"""The interfaces that plugins extend. Importing this module imports neither torch nor transformers.

Declaration is light, building is heavy: a component class holds a pydantic `Config`, a docstring whose first line is
its summary, and methods that import what they need when they are called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ullme.loss_inputs import LossInputs, Terms
    from ullme.model.embedder import Embedder
    from ullme.model.reference import Encode
    from ullme.types import EvalContext, EvalReport, Example, ExportContext, Layout, LoadedBackbone, Request


class ComponentConfig(BaseModel):
    """Base of every plugin's `Config`: unknown keys are refused and values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(ABC):
    """A plugin: declared by its class, configured by `Config`, built by the method its kind names."""

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config: Any = self.Config() if config is None else config


class Backbone(Component):
    """Loads one family of language models or encoders."""

    class Config(ComponentConfig):
        path: str | None = Field(None, description="hub id, local directory, .gguf file, or pypi:PROJECT==VERSION/FILE")
        parts: list[str] = Field([], description="several files, concatenated to one .gguf, instead of `path`")
        sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="refuse other bytes than these")
        revision: str | None = Field(None, description="branch, tag or commit on the hub")
        dtype: Literal["float32", "bfloat16", "float16"] = "float32"
        attn_implementation: str | None = Field(None, description="eager, sdpa, flex_attention, flash_attention_2 ...")
        allow_pickle: bool = Field(False, description="accept pickle weights, which can run code when loaded")
        trust_remote_code: bool = Field(False, description="run model code that comes with the weights")
        quantization: Literal["nf4", "int8"] | None = Field(
            None, description="quantise the frozen base at load (QLoRA); needs bitsandbytes and an adapter"
        )
        allow_partial: bool = Field(
            False, description="accept a hybrid whose recurrent layers stay causal under bidirectional attention"
        )

    model_types: ClassVar[tuple[str, ...]] = ()
    """The `model_type`s of transformers configs that it reads: how the backbone for a model is found."""

    @abstractmethod
    def load(self) -> LoadedBackbone:
        """The model with its tokenizer. Raises AssetError when the weights cannot be had."""


class AttentionPatcher(Component):
    """Decides who may attend to whom, for the forward calls made while it is active."""

    sees_future: ClassVar[bool]
    """Whether a later token may move an earlier state: what the probe must find, layer by layer."""

    @abstractmethod
    def install(self, loaded: LoadedBackbone) -> None:
        """Make the model obey `active()`, changing nothing while inactive. Raises AttentionError if it cannot."""

    @abstractmethod
    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """The mode holds for forward calls of this thread inside the context, and for their backward afterwards.

        `layout` describes the tokens of the call: texts that share a row must not see each other. None: one text a row,
        all of it free.
        """


class Pooler(Component):
    """Token states and mask -> one vector per text."""

    layers: ClassVar[tuple[int, ...]] = (-1,)
    """The hidden states it pools, numbered as transformers does; the mean of several is what it is given."""

    reads_positions: ClassVar[bool] = False
    """Whether the function takes a third argument: positions [B, T] of the tokens among the real ones, from 0."""

    # Both may be properties that read `self.config`.

    def build(self, hidden_size: int) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of hidden [B, T, d] and mask [B, T] giving [B, d]; an nn.Module if it has weights."""
        return self

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool `hidden` [B, T, d] where `mask` [B, T] is not 0. Neither is changed; padding has no influence."""
        raise TypeError(f"{type(self).__name__} implements neither build() nor __call__()")


class Head(Component):
    """A function of pooled vectors: a projection, a dense layer."""

    class Config(ComponentConfig):
        use_in: Literal["always", "training"] = Field(
            "always", description="`training`: the loss sees the projected vector, users the one before it"
        )

    @abstractmethod
    def build(self, size: int, loaded: LoadedBackbone) -> nn.Module:
        """A module from vectors [n, size] to [n, `out_size(size)`]."""

    def out_size(self, size: int) -> int:
        """Length of the vectors that it gives for vectors of length `size`."""
        return size


class Loss(Component):
    """A pure function of the vectors and likelihoods of a batch."""

    class Config(ComponentConfig):
        weight: float = Field(1.0, ge=0, description="factor of this loss in the sum")

    needs: ClassVar[tuple[Request, ...]] = ()
    """What the driver must compute for this loss; may be a property that reads `self.config`."""

    needs_negatives: ClassVar[bool] = False
    """Whether every query must bring a negative of its own."""

    def build(self) -> Callable[[LossInputs], Tensor | Terms]:
        """The function itself; an nn.Module if it has parameters of its own (a learned temperature)."""
        return self

    def __call__(self, batch: LossInputs) -> Tensor | Terms:
        """Per-item terms [n], each counting for one, or `Terms` when they do not. The driver averages and weights."""
        raise TypeError(f"{type(self).__name__} implements neither build() nor __call__()")


class Connector(Component):
    """Encoder states -> input embeddings of a language model."""

    @abstractmethod
    def build(self, source_dim: int, target_dim: int) -> nn.Module:
        """A module from [B, S, source_dim] and mask [B, S] to [B, S', target_dim] and mask [B, S']."""


class Evaluator(Component):
    """An embedder -> scores, tables, pictures."""

    class Config(ComponentConfig):
        when: list[Literal["before", "after"]] = Field(["after"], min_length=1, description="relative to training")

    def check(self, embedder: Embedder) -> None:
        """Raise, before training, what `evaluate` would raise after it for this kind of model."""

    @abstractmethod
    def evaluate(self, embedder: Embedder, context: EvalContext) -> EvalReport:
        """Scores of `embedder`. Files go to `context.out_dir`. Must leave the global random state as it found it."""


class DataSource(Component):
    """Where examples come from. Splitting and drawing negatives is done by `ullme.data` for every source alike."""

    class Config(ComponentConfig):
        part: Literal["all", "train", "heldout"] = Field("all", description="which side of the hash split to read")
        heldout: float = Field(0.0, ge=0, lt=1, description="fraction of passages kept out of training, by hash")
        limit: int | None = Field(None, gt=0, description="at most this many rows, chosen by hash")
        sample_negatives: int = Field(0, ge=0, description="negatives drawn per row from passages of other groups")
        seed: int = Field(0, description="of the draw of negatives")

    @abstractmethod
    def examples(self) -> Iterator[Example]:
        """Rows in a fixed order. Raises DataError naming file and line of a row that cannot be used."""


class Exporter(Component):
    """A trained embedder -> a directory that other programs read."""

    class Config(ComponentConfig):
        folder: str = Field(
            "", pattern=r"^(\w[\w.-]*)?$", description="below the run's output; the plugin's name if empty"
        )

    @abstractmethod
    def export(self, embedder: Embedder, out_dir: Path, context: ExportContext) -> None:
        """Write to `out_dir`, an empty directory that is renamed into place afterwards.

        Raises ExportError, with the reason, for a model that the format cannot express.
        """

    def reads(self, folder: Path) -> bool:
        """Whether `folder` is of this format, told from its files alone."""
        return False

    def read(self, folder: Path, device: str | None = None) -> Encode:
        """The model in `folder`, loaded by what users of the format load it with: (texts, role) to vectors [n, d].

        Every export is read back and compared with the model, if `reads` says that it can be.
        """
        raise TypeError(f"{type(self).__name__} does not implement read()")


class Hooks(Component):
    """Lifecycle hooks: methods named as in `ullme.plugins.hooks`, called when the YAML lists the plugin."""
