"""What to run: tasks of mteb's by name and local ones, each made anew for every model."""

from __future__ import annotations

import copy
import difflib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ullme import AssetError, ConfigError
from ullme_plugins.evaluators._local import LocalData, LocalTask


@dataclass(frozen=True)
class Plan:
    """A task to run. `make` gives a fresh one: a task's random state moves on with every run.

    `identity` is what its scores depend on besides the model; `languages` are those of a task of mteb's, as eng-Latn.
    """

    name: str
    identity: dict[str, Any]
    make: Callable[[], Any]
    instructions: Mapping[str, str]
    languages: frozenset[str] = frozenset()


def plans(
    names: Iterable[str],
    local: Iterable[LocalTask],
    languages: list[str] | None,
    splits: list[str] | None,
    given: Mapping[str, Any] | None = None,
) -> list[Plan]:
    """All tasks, checked as far as can be without a model. Raises ConfigError or DataError.

    `given` are task objects by name, taken instead of mteb's of that name.
    """
    objects = given or {}
    named = [
        _given(objects[name], languages, splits) if name in objects else _named(name, languages, splits)
        for name in names
    ]
    for language in languages or ():
        if not any(spoken(language, found) for plan in named for found in plan.languages):
            tasks = ", ".join(plan.name for plan in named)
            raise ConfigError(f"languages: {language} is in none of the tasks ({tasks})")
    return [*named, *map(_local, local)]


def spoken(asked: str, found: str) -> bool:
    """Whether a language of a task, such as eng-Latn, is the one asked for, as eng or eng-Latn."""
    return asked in (found, found.partition("-")[0])


def load(task: Any) -> None:
    """Have the task's data in memory. Raises AssetError, with the cause, when it cannot be had."""
    for part in getattr(task.metadata, "tasks", [task]):  # an aggregate has tasks below it
        try:
            part.load_data()
        except Exception as error:
            dataset = part.metadata.dataset
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise AssetError(
                f"mteb task {part.metadata.name}: its data, {dataset['path']} of the hub, cannot be had: {cause}\n"
                "  Check the network and HF_HUB_OFFLINE, or give data of your own under `local:`."
            ) from error


def _local(config: LocalTask) -> Plan:
    data = LocalData(config)
    return Plan(config.name, {"mteb": version("mteb"), **data.identity()}, data.task, data.instructions)


def _named(name: str, languages: list[str] | None, splits: list[str] | None) -> Plan:
    import mteb
    from mteb.get_tasks import TASK_LIST

    classes = {cls.metadata.name: cls for cls in TASK_LIST}
    if name not in classes:
        close = difflib.get_close_matches(name, classes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"tasks: mteb {mteb.__version__} has no task {name!r}.{hint}")
    metadata = classes[name].metadata
    if metadata.modalities != ["text"]:
        raise ConfigError(f"tasks: {name} needs {', '.join(metadata.modalities)}; ullme embeds text")
    parts = getattr(metadata, "tasks", None)
    if parts is not None:
        if languages or splits:
            inner = ", ".join(part.metadata.name for part in parts)
            raise ConfigError(f"tasks: {name} is made of {inner}; with `languages` or `splits`, name these")
        chosen = None
    else:
        chosen = _splits(name, metadata.eval_splits, splits)

    def make() -> Any:
        return mteb.get_task(name, languages=languages, eval_splits=chosen)

    try:
        task = make()
    except ValueError as error:  # an unknown language, or one that the task has not
        found = ", ".join(metadata.languages)
        raise ConfigError(f"languages: {name} has {found}, not {', '.join(languages or [])}") from error
    data = [dict(part.metadata.dataset) for part in parts or [task]]
    identity = {"mteb": version("mteb"), "data": data, "splits": chosen, "subsets": list(task.hf_subsets)}
    return Plan(name, identity, make, {}, _languages(task))


def _given(task: Any, languages: list[str] | None, splits: list[str] | None) -> Plan:
    """A task object, with its own splits and subsets. What its data are cannot be told: no result of it is reused."""
    name, metadata = task.metadata.name, task.metadata
    if metadata.modalities != ["text"]:
        raise ConfigError(f"tasks: {name} needs {', '.join(metadata.modalities)}; ullme embeds text")
    chosen = _splits(name, task.eval_splits, splits) if splits else None

    def make() -> Any:
        fresh = copy.copy(task)
        fresh.rng_state, fresh.np_rng = copy.deepcopy((task.rng_state, task.np_rng))
        if languages:
            fresh.filter_languages(languages, hf_subsets=task.hf_subsets)
        if chosen:
            fresh.filter_eval_splits(chosen)
        return fresh

    try:
        made = make()
    except ValueError as error:
        found = ", ".join(metadata.languages)
        raise ConfigError(f"languages: {name} has {found}, not {', '.join(languages or [])}") from error
    identity = {"mteb": version("mteb"), "task": uuid.uuid4().hex}
    return Plan(name, identity, make, {}, _languages(made))


def _languages(task: Any) -> frozenset[str]:
    """Language and script of the subsets that will run."""
    spoken_in = task.metadata.hf_subsets_to_langscripts
    return frozenset(language for subset in task.hf_subsets for language in spoken_in.get(subset) or ())


def _splits(name: str, available: Sequence[str], wanted: list[str] | None) -> list[str]:
    """By default `test` alone where there is one: some tasks count their training split among the others."""
    if wanted is None:
        return ["test"] if "test" in available else list(available)
    kept = [split for split in available if split in wanted]
    if not kept:
        raise ConfigError(f"splits: {name} has {', '.join(available)}, not {', '.join(wanted)}")
    return kept
