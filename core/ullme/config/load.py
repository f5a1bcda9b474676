"""From a YAML file to a typed pipeline, and back to YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from ullme.config.compose import Document, compose, compose_model
from ullme.config.dialect import PlainDumper
from ullme.config.explain import explain
from ullme.config.interpolate import escaped
from ullme.config.layers import PRESET, merge
from ullme.config.presets import SETTING
from ullme.config.schema import ModelConfig, Pipeline
from ullme.config.section import Section
from ullme.config.tree import Loc, Node, Place, config_error, from_plain

if TYPE_CHECKING:
    from ullme.plugins.registry import Registry

_M = TypeVar("_M", bound=BaseModel)


class _Stored(Section):
    """What is read of the file in a model directory."""

    model: ModelConfig = Field(description="the embedder")


def load_pipeline(path: Path | str, overrides: Sequence[str] = (), registry: Registry | None = None) -> Pipeline:
    """The pipeline in a YAML file, `--set` overrides (`a.b=value`) applied.

    Imports the declarations of the plugins that it names. Raises ConfigError listing every mistake with its place.
    """
    path = Path(path)
    document = compose(path, overrides, registry)
    root = document.root
    if root.child("output") is None:
        root = root.with_child("output", Node(f"runs/{path.stem}", root.place))
    return _validated(Pipeline, root, document, registry, ("extends", "vars"))


def load_model(
    source: Path | str | Mapping[str, Any], changes: Mapping[str, Any] | None = None, registry: Registry | None = None
) -> ModelConfig:
    """The `model:` section of a YAML file, or one given as a mapping, with `changes` merged over it.

    Raises ConfigError listing every mistake with its place.
    """
    document = (
        compose_model(source, registry) if isinstance(source, Mapping) else compose(Path(source), registry=registry)
    )
    root = replace(document.root, value={key: node for key, node in document.root.value.items() if key == "model"})
    if changes:
        root = merge(root, from_plain({"model": changes}, Place("changes to the model section")))
    return _validated(_Stored, root, document, registry).model


def load_section(model: type[_M], values: Mapping[str, Any], name: str, registry: Registry | None = None) -> _M:
    """Values given in Python, checked as those of a file are. Raises ConfigError, in which `name` is their place."""
    document = Document(from_plain(values, Place(name)), [])
    return _validated(model, document.root, document, registry)


def _validated(
    model: type[_M], root: Node, document: Document, registry: Registry | None, also: Sequence[str] = ()
) -> _M:
    if registry is None:
        from ullme.plugins.registry import Registry

        registry = Registry()
    problems = list(document.problems)
    broken = [problem.loc for problem in problems if problem.loc]
    try:
        valid = model.model_validate(root.plain(), context=registry)
    except ValidationError as error:
        # What could not be composed is not judged a second time.
        found = explain(error, model, root, registry, {(): also, ("model",): (PRESET, SETTING)})
        problems += [problem for problem in found if not any(_within(problem.loc, loc) for loc in broken)]
    if problems:
        raise config_error(problems) from None
    return valid


def _within(loc: Loc, outer: Loc) -> bool:
    return loc[: len(outer)] == outer


def dump_yaml(config: BaseModel | Mapping[str, Any]) -> str:
    """A config, or plain values, as YAML that reads back to the same: defaults written out, nothing left to resolve."""
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    return yaml.dump(_escaped(values), Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)


def _escaped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    return escaped(value) if isinstance(value, str) else value
