"""ullme: decoder language models become text-embedding models; every concrete piece is a plugin found by name.

The names below are the public API. Importing `ullme` imports none of the modules behind them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "AttentionPatcher": "interfaces",
    "Backbone": "interfaces",
    "Component": "interfaces",
    "ComponentConfig": "interfaces",
    "Connector": "interfaces",
    "DataSource": "interfaces",
    "Evaluator": "interfaces",
    "Exporter": "interfaces",
    "Hooks": "interfaces",
    "Loss": "interfaces",
    "Pooler": "interfaces",
    "EvalContext": "types",
    "EvalReport": "types",
    "Example": "types",
    "Likelihood": "types",
    "LoadedBackbone": "types",
    "Score": "types",
    "Vector": "types",
    "LogProbs": "loss_inputs",
    "LossInputs": "loss_inputs",
    "Preferences": "loss_inputs",
    "Terms": "loss_inputs",
    "AssetError": "errors",
    "AttentionError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "TrainingError": "errors",
    "UllmeError": "errors",
    "Embedder": "model.embedder",
    "Choice": "config.slots",
    "Slot": "config.slots",
    "ModelConfig": "config.schema",
    "StageConfig": "config.schema",
    "load_source": "data.prepare",
    "build_embedder": "model.build",
    "probe_attention": "model.probe",
    "CachedStep": "train.step",
    "WeightedLoss": "train.step",
    "build_losses": "train.losses",
    "make_batch": "train.batch",
    "fetch": "assets",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from ullme.assets import fetch as fetch
    from ullme.config.schema import ModelConfig as ModelConfig, StageConfig as StageConfig
    from ullme.config.slots import Choice as Choice, Slot as Slot
    from ullme.data.prepare import load_source as load_source
    from ullme.errors import (
        AssetError as AssetError,
        AttentionError as AttentionError,
        ConfigError as ConfigError,
        DataError as DataError,
        TrainingError as TrainingError,
        UllmeError as UllmeError,
    )
    from ullme.interfaces import (
        AttentionPatcher as AttentionPatcher,
        Backbone as Backbone,
        Component as Component,
        ComponentConfig as ComponentConfig,
        Connector as Connector,
        DataSource as DataSource,
        Evaluator as Evaluator,
        Exporter as Exporter,
        Hooks as Hooks,
        Loss as Loss,
        Pooler as Pooler,
    )
    from ullme.loss_inputs import (
        LogProbs as LogProbs,
        LossInputs as LossInputs,
        Preferences as Preferences,
        Terms as Terms,
    )
    from ullme.model.build import build_embedder as build_embedder
    from ullme.model.embedder import Embedder as Embedder
    from ullme.model.probe import probe_attention as probe_attention
    from ullme.train.batch import make_batch as make_batch
    from ullme.train.losses import build_losses as build_losses
    from ullme.train.step import CachedStep as CachedStep, WeightedLoss as WeightedLoss
    from ullme.types import (
        EvalContext as EvalContext,
        EvalReport as EvalReport,
        Example as Example,
        Likelihood as Likelihood,
        LoadedBackbone as LoadedBackbone,
        Score as Score,
        Vector as Vector,
    )


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"ullme.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'ullme' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
