"""What to run: tasks of mteb's by name and local ones, each made anew for every model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ullme import AssetError, ConfigError
from ullme_plugins.evaluators._local import LocalData, LocalTask


@dataclass(frozen=True)
class Plan:
    """A task to run. `make` gives a fresh one: a task's random state moves on with every run.

    `identity` is what its scores depend on besides the model.
    """

    name: str
    identity: dict[str, Any]
    make: Callable[[], Any]
    instructions: Mapping[str, str]


def plans(
    names: Iterable[str], local: Iterable[LocalTask], languages: list[str] | None, splits: list[str] | None
) -> list[Plan]:
    """All tasks, checked as far as can be without a model. Raises ConfigError or DataError."""
    return [*(_named(name, languages, splits) for name in names), *map(_local, local)]


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
    return Plan(name, identity, make, {})


def _splits(name: str, available: Sequence[str], wanted: list[str] | None) -> list[str]:
    """By default `test` alone where there is one: some tasks count their training split among the others."""
    if wanted is None:
        return ["test"] if "test" in available else list(available)
    kept = [split for split in available if split in wanted]
    if not kept:
        raise ConfigError(f"splits: {name} has {', '.join(available)}, not {', '.join(wanted)}")
    return kept
