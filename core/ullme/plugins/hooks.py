"""Lifecycle hooks: what can be hooked into, and the caller that runs the plugins which the YAML lists.

A plugin of kind `hook` extends `ullme.Hooks` and defines any of the methods of `HookSpecs`, with any subset of their
arguments. Nothing that is merely installed is ever called.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pluggy

from ullme.errors import HookError, PluginLoadError, UllmeError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from ullme.interfaces import Component, Hooks
    from ullme.types import EvalReport

_PREFIX = "ullme_"
_spec = pluggy.HookspecMarker("ullme")


class HookSpecs:
    """The hooks. None runs inside a training step: hot loops stay readable."""

    @_spec
    def ullme_config_ready(self, pipeline: Any) -> None:
        """The `Pipeline` is validated and nothing is built yet."""

    @_spec
    def ullme_component_built(self, kind: str, name: str, component: Component) -> None:
        """A component that the YAML names was made from its config."""

    @_spec
    def ullme_train_callbacks(self, run: Any) -> list[Callback]:  # type: ignore[empty-body]
        """Lightning callbacks to add to the trainer of a stage."""

    @_spec
    def ullme_before_train(self, run: Any) -> None:
        """A stage is about to train."""

    @_spec
    def ullme_after_train(self, run: Any) -> None:
        """A stage has trained and its last checkpoint is on disk."""

    @_spec
    def ullme_after_evaluate(self, report: EvalReport) -> None:
        """An evaluator has reported."""


HOOKS = tuple(name for name in vars(HookSpecs) if name.startswith(_PREFIX))


class _Manager(pluggy.PluginManager):
    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Take every `ullme_*` method for a hook, marked or not, so that a misspelt one cannot be overlooked."""
        return super().parse_hookimpl_opts(plugin, name) or ({} if name.startswith(_PREFIX) else None)


class HookCaller:
    """Calls the hooks of `choices`, (name, origin, instance) of each plugin listed, in that order.

    Raises PluginLoadError for a method that is no hook, or that asks for an argument which the hook does not have.
    """

    def __init__(self, choices: Iterable[tuple[str, str, Hooks]] = ()) -> None:
        self._manager = _Manager("ullme")
        self._manager.add_hookspecs(HookSpecs)
        self._who: dict[str, str] = {}
        # pluggy calls the last registered first; users expect the order in which they wrote the list.
        for number, (name, origin, instance) in reversed(list(enumerate(choices))):
            who = f"hook '{name}' ({origin})"
            for method in (m for m in dir(instance) if m.startswith(_PREFIX) and m not in HOOKS):
                meant = "".join(f" Did you mean '{close}'?" for close in get_close_matches(method, HOOKS, n=1))
                raise PluginLoadError(f"{who}: there is no hook '{method}'.{meant}\n  Hooks: {', '.join(HOOKS)}")
            try:
                self._manager.register(instance, name=str(number))
            except pluggy.PluginValidationError as error:
                raise PluginLoadError(f"{who}: {str(error).splitlines()[-1].strip()}") from error
            self._who[str(number)] = who

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Results other than None, in the order of the list. Raises HookError naming plugin and distribution."""
        caller = getattr(self._manager.hook, hook)
        try:
            results: list[Any] = caller(**arguments)
        except Exception as error:
            guilty = self._guilty(caller.get_hookimpls(), error.__traceback__)
            if guilty is None:
                raise
            own = "" if isinstance(error, UllmeError) else f"{type(error).__name__}: "
            raise HookError(f"{guilty} failed in {hook}: {own}{error}") from error
        return results

    def _guilty(self, impls: Iterable[Any], trace: TracebackType | None) -> str | None:
        by_code = {impl.function.__code__: impl.plugin_name for impl in impls}
        while trace is not None:
            if trace.tb_frame.f_code in by_code:
                return self._who[by_code[trace.tb_frame.f_code]]
            trace = trace.tb_next
        return None
