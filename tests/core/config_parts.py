"""Small plugins and a registry of them, so that the config layer is tested without any first-party plugin."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ullme import (
    AttentionPatcher,
    Backbone,
    Choice,
    ComponentConfig,
    DataSource,
    Evaluator,
    Example,
    Exporter,
    Loss,
    Pooler,
    Slot,
)
from ullme.plugins.discovery import PluginRecord
from ullme.plugins.index import Index, IndexEntry
from ullme.plugins.registry import Registry


class Family(Backbone):
    """A family of models."""

    def load(self) -> Any:
        raise NotImplementedError


class Both(AttentionPatcher):
    """Everybody sees everybody."""

    sees_future = True

    class Config(ComponentConfig):
        window: int | None = Field(None, gt=0, description="tokens to either side")

    def install(self, loaded: Any) -> None:
        raise NotImplementedError

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()


class Past(Both):
    """Only the past is seen."""

    sees_future = False


class Average(Pooler):
    """The average."""


class Heads(Pooler):
    """Several heads."""

    class Config(ComponentConfig):
        heads: int = Field(gt=0, description="number of heads")


class Contrast(Loss):
    """A loss with a setting."""

    class Config(Loss.Config):
        temperature: float = Field(0.05, gt=0, description="of the softmax")


class Smoothing(ComponentConfig):
    """A section of a plugin's own."""

    label: float = Field(0.0, ge=0, lt=1, description="mass of the other label")


class Preference(Loss):
    """A loss with a section of its own."""

    class Config(Loss.Config):
        beta: float = Field(0.1, gt=0, description="strength")
        smoothing: Smoothing = Field(Smoothing(), description="of the labels")
        layers: int | Literal["all"] | list[int] = Field("all", description="which layers")

        @field_validator("layers")
        @classmethod
        def _not_zero(cls, value: Any) -> Any:
            if value == 0:
                raise ValueError("there is no layer 0 {really}")
            return value


class Nested(Loss):
    """A loss around another."""

    class Config(Loss.Config):
        inner: Annotated[Choice, Slot("loss")] = Field(description="the loss inside")
        others: list[Annotated[Choice, Slot("loss")]] | None = Field(None, description="more of them")


class Rows(DataSource):
    """Rows of a file."""

    class Config(DataSource.Config):
        path: str = Field(description="the file")
        fields: dict[str, str] = Field({}, description="other names")

    def examples(self) -> Iterator[Example]:
        yield from ()


class Scorer(Evaluator):
    """A score."""

    def evaluate(self, embedder: Any, context: Any) -> Any:
        raise NotImplementedError


class Folder(Exporter):
    """A folder."""

    def export(self, embedder: Any, out_dir: Any, context: Any) -> None:
        raise NotImplementedError


_PLUGINS = {
    "backbone": {"family": Family},
    "attention": {"both": Both, "past": Past},
    "pooler": {"average": Average, "heads": Heads},
    "loss": {"contrast": Contrast, "preference": Preference, "nested": Nested},
    "source": {"rows": Rows},
    "evaluator": {"scorer": Scorer},
    "exporter": {"folder": Folder},
}


def registry() -> Registry:
    """All of the above as plugins of the distribution `parts`, with two that cannot be used."""
    records = [
        PluginRecord(kind, name, "parts", "1.0", f"{__name__}:{cls.__name__}")
        for kind, plugins in _PLUGINS.items()
        for name, cls in plugins.items()
    ]
    records.append(PluginRecord("loss", "broken", "other", "0.1", "no_such_module:Loss"))
    records.append(PluginRecord("pooler", "average", "other", "0.1", f"{__name__}:Average"))
    known = (
        IndexEntry("loss", "absent", "ullme-absent", "known, not installed"),
        IndexEntry("loss", "contrast", "parts", "a loss", aliases=("contrastive",)),
    )
    defaults = {"embed": "both", "generate": "past", "pooler": "parts:average"}
    return Registry(records, Index(known, defaults))


MINIMAL = """\
model:
  backbone: {use: family, path: weights}
"""

FULL = """\
seed: 3
vars: {beta: 0.2}
model:
  backbone: {use: family, path: weights, dtype: bfloat16}
  attention: {embed: {use: both, window: 8}, generate: past}
  pooler: {use: heads, heads: 4}
  adapter: {r: 8}
  template:
    embed:
      default: ["{bos}", {text: "{instruction}", pool: false}, "{text}"]
    likelihood: ["{prefix}", {text: "{target}", target: true}]
  prompts: {query: "cost: ${x} or 1e-4"}
stages:
  - name: first-stage
    data: {use: rows, path: "a.jsonl", fields: {query: question}}
    losses:
      - contrast
      - {use: preference, beta: "${vars.beta}", weight: 0.5}
      - {use: nested, inner: {use: nested, inner: contrast}, others: [preference]}
    trainer: {max_steps: 30, batch_size: 4, lr: 1e-4}
evaluate: [scorer]
export: [folder]
""".replace("${x}", "$${x}")
