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
    "UllmeError": "errors",
    "Embedder": "model.embedder",
    "Choice": "config.slots",
    "Slot": "config.slots",
    "ModelConfig": "config.schema",
    "StageConfig": "config.schema",
    "load_source": "data.prepare",
    "fetch": "assets",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from ullme.assets import fetch
    from ullme.config.schema import ModelConfig, StageConfig
    from ullme.config.slots import Choice, Slot
    from ullme.data.prepare import load_source
    from ullme.errors import AssetError, AttentionError, ConfigError, DataError, UllmeError
    from ullme.interfaces import (
        AttentionPatcher,
        Backbone,
        Component,
        ComponentConfig,
        Connector,
        DataSource,
        Evaluator,
        Exporter,
        Hooks,
        Loss,
        Pooler,
    )
    from ullme.loss_inputs import LogProbs, LossInputs, Preferences, Terms
    from ullme.model.embedder import Embedder
    from ullme.types import EvalContext, EvalReport, Example, Likelihood, LoadedBackbone, Score, Vector


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"ullme.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'ullme' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
