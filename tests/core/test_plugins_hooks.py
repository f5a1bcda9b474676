"""Hooks: called in order, with any subset of arguments; mistakes are refused and failures attributed."""

import inspect

import pytest

from ullme import Hooks
from ullme.errors import ConfigError, HookError, PluginLoadError
from ullme.plugins.hooks import HOOKS, HookCaller, HookSpecs


def make(**methods):
    return type("Mine", (Hooks,), methods)()


def test_every_listed_plugin_is_called_in_the_order_of_the_list():
    seen = []
    first = make(ullme_before_train=lambda self, run: seen.append(("first", run)))
    second = make(ullme_before_train=lambda self: seen.append(("second", None)))  # asks for no argument
    HookCaller([("a", "acme 1.0", first), ("b", "acme 1.0", second)]).call("ullme_before_train", run=7)
    assert seen == [("first", 7), ("second", None)]


def test_results_are_collected():
    plugins = [("a", "acme", make(ullme_train_callbacks=lambda self, run, n=n: [n])) for n in (1, 2)]
    assert HookCaller([*plugins, ("silent", "acme", make())]).call("ullme_train_callbacks", run=None) == [[1], [2]]


def test_the_same_plugin_may_be_listed_twice():
    seen = []

    class Twice(Hooks):
        def ullme_after_train(self, run):
            seen.append(run)

    HookCaller([("t", "acme", Twice()), ("t", "acme", Twice())]).call("ullme_after_train", run=1)
    assert seen == [1, 1]


def test_without_plugins_nothing_happens():
    assert HookCaller().call("ullme_after_evaluate", report=None) == []


def test_a_misspelt_hook_is_refused_with_the_name_that_was_meant():
    with pytest.raises(PluginLoadError) as error:
        HookCaller([("mine", "acme 1.0", make(ullme_befor_train=lambda self, run: None))])
    assert "hook 'mine' (acme 1.0): there is no hook 'ullme_befor_train'." in str(error.value)
    assert "Did you mean 'ullme_before_train'?" in str(error.value)


def test_an_argument_that_the_hook_lacks_is_refused():
    with pytest.raises(PluginLoadError, match=r"hook 'mine' \(acme 1.0\).*stage"):
        HookCaller([("mine", "acme 1.0", make(ullme_before_train=lambda self, run, stage: None))])


@pytest.mark.parametrize("raised", [ValueError("no"), ConfigError("no")])
def test_a_failure_names_hook_plugin_and_distribution(raised):
    def fail(self, run):
        raise raised

    caller = HookCaller(
        [
            ("good", "acme 1.0", make(ullme_before_train=lambda self: None)),
            ("bad", "beta 2.0", make(ullme_before_train=fail)),
        ]
    )
    with pytest.raises(HookError, match=r"hook 'bad' \(beta 2\.0\) failed in ullme_before_train: .*no") as error:
        caller.call("ullme_before_train", run=None)
    assert error.value.__cause__ is raised


def test_ctrl_c_inside_a_hook_is_no_failure_of_the_hook():
    def interrupt(self):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HookCaller([("x", "acme", make(ullme_before_train=interrupt))]).call("ullme_before_train", run=None)


def test_every_hook_is_documented():
    for name in HOOKS:
        assert inspect.getdoc(getattr(HookSpecs, name)), name
