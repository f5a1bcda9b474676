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
    "Head": "interfaces",
    "Hooks": "interfaces",
    "Loss": "interfaces",
    "Pooler": "interfaces",
    "EvalContext": "types",
    "EvalReport": "types",
    "Example": "types",
    "ExportContext": "types",
    "Layout": "types",
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
    "ExportError": "errors",
    "TrainingError": "errors",
    "UllmeError": "errors",
    "Embedder": "model.embedder",
    "merged_weights": "model.merging",
    "read_reference": "model.reference",
    "Choice": "config.slots",
    "Slot": "config.slots",
    "ModelConfig": "config.schema",
    "StageConfig": "config.schema",
    "load_source": "data.prepare",
    "build_embedder": "model.build",
    "comparable": "model.comparable",
    "probe_attention": "model.probe",
    "quiet_transformers": "model.quiet",
    "CachedStep": "train.step",
    "WeightedLoss": "train.weighted",
    "build_losses": "train.losses",
    "check_model": "train.losses",
    "make_batch": "train.batch",
    "Registry": "plugins.registry",
    "fetch": "assets",
    "WeightFolder": "assets",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from ullme.assets import WeightFolder as WeightFolder
    from ullme.assets import fetch as fetch
    from ullme.config.schema import ModelConfig as ModelConfig
    from ullme.config.schema import StageConfig as StageConfig
    from ullme.config.slots import Choice as Choice
    from ullme.config.slots import Slot as Slot
    from ullme.data.prepare import load_source as load_source
    from ullme.errors import (
        AssetError as AssetError,
    )
    from ullme.errors import (
        AttentionError as AttentionError,
    )
    from ullme.errors import (
        ConfigError as ConfigError,
    )
    from ullme.errors import (
        DataError as DataError,
    )
    from ullme.errors import (
        ExportError as ExportError,
    )
    from ullme.errors import (
        TrainingError as TrainingError,
    )
    from ullme.errors import (
        UllmeError as UllmeError,
    )
    from ullme.interfaces import (
        AttentionPatcher as AttentionPatcher,
    )
    from ullme.interfaces import (
        Backbone as Backbone,
    )
    from ullme.interfaces import (
        Component as Component,
    )
    from ullme.interfaces import (
        ComponentConfig as ComponentConfig,
    )
    from ullme.interfaces import (
        Connector as Connector,
    )
    from ullme.interfaces import (
        DataSource as DataSource,
    )
    from ullme.interfaces import (
        Evaluator as Evaluator,
    )
    from ullme.interfaces import (
        Exporter as Exporter,
    )
    from ullme.interfaces import (
        Head as Head,
    )
    from ullme.interfaces import (
        Hooks as Hooks,
    )
    from ullme.interfaces import (
        Loss as Loss,
    )
    from ullme.interfaces import (
        Pooler as Pooler,
    )
    from ullme.loss_inputs import (
        LogProbs as LogProbs,
    )
    from ullme.loss_inputs import (
        LossInputs as LossInputs,
    )
    from ullme.loss_inputs import (
        Preferences as Preferences,
    )
    from ullme.loss_inputs import (
        Terms as Terms,
    )
    from ullme.model.build import build_embedder as build_embedder
    from ullme.model.comparable import comparable as comparable
    from ullme.model.embedder import Embedder as Embedder
    from ullme.model.merging import merged_weights as merged_weights
    from ullme.model.probe import probe_attention as probe_attention
    from ullme.model.quiet import quiet_transformers as quiet_transformers
    from ullme.model.reference import read_reference as read_reference
    from ullme.plugins.registry import Registry as Registry
    from ullme.train.batch import make_batch as make_batch
    from ullme.train.losses import build_losses as build_losses
    from ullme.train.losses import check_model as check_model
    from ullme.train.step import CachedStep as CachedStep
    from ullme.train.weighted import WeightedLoss as WeightedLoss
    from ullme.types import (
        EvalContext as EvalContext,
    )
    from ullme.types import (
        EvalReport as EvalReport,
    )
    from ullme.types import (
        Example as Example,
    )
    from ullme.types import (
        ExportContext as ExportContext,
    )
    from ullme.types import (
        Layout as Layout,
    )
    from ullme.types import (
        Likelihood as Likelihood,
    )
    from ullme.types import (
        LoadedBackbone as LoadedBackbone,
    )
    from ullme.types import (
        Score as Score,
    )
    from ullme.types import (
        Vector as Vector,
    )


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"ullme.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'ullme' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
