"""From name to class, step by step in the order of resolution."""

import warnings

import pytest

from ullme.errors import AmbiguousPlugin, PluginLoadError, PluginRefused, UllmeError, UnknownPlugin
from ullme.plugins.discovery import OWN_DIST, PluginRecord
from ullme.plugins.index import Index, IndexEntry
from ullme.plugins.registry import Registry

pytest_plugins = ["ullme.testing.fixtures"]


def record(name, dist, kind="loss", problem=None, target="m:X"):
    return PluginRecord(kind, name, dist, "1.0", target, problem=problem)


OURS, ACME, BETA = record("dpo", OWN_DIST), record("dpo", "acme"), record("dpo", "beta")
KNOWN = IndexEntry("loss", "simpo", "ullme-simpo", "SimPO")
ALIASED = IndexEntry("loss", "dpo", OWN_DIST, "DPO", aliases=("sigmoid",))


@pytest.mark.parametrize("name", ["focal-dpo", "Focal_DPO", " focal-dpo ", "acme:focal-dpo", "Acme:Focal_dpo"])
def test_one_candidate_is_it_in_any_spelling(name):
    focal = record("focal-dpo", "acme")
    assert Registry([focal], Index()).resolve("loss", name) == focal


def test_an_alias_stands_for_its_name():
    registry = Registry([OURS], Index((ALIASED,)))
    assert registry.resolve("loss", "sigmoid") == OURS
    assert registry.resolve("loss", f"{OWN_DIST}:sigmoid") == OURS


def test_an_alias_is_reserved_but_a_qualified_name_is_taken_at_its_word():
    theirs = record("sigmoid", "acme")
    registry = Registry([OURS, theirs], Index((ALIASED,)))
    assert registry.resolve("loss", "sigmoid") == OURS
    assert registry.resolve("loss", "acme:sigmoid") == theirs
    assert registry.status(theirs) == "clash: use acme:sigmoid"


def test_a_deprecated_name_warns_and_leads_to_its_successor_once_gone():
    entry = IndexEntry("loss", "old", "acme", "Old", status="deprecated", replaced_by="new")
    old, new = record("old", "acme"), record("new", "acme")
    for installed, expected in (([old, new], old), ([new], new)):
        registry = Registry(installed, Index((entry,)))
        with pytest.warns(FutureWarning, match="loss 'old' is deprecated; use 'new'"):
            assert registry.resolve("loss", "old") == expected
    assert Registry([old, new], Index((entry,))).status(old) == "deprecated: use new"


@pytest.mark.parametrize("listed", ["acme", "dpo", "acme:dpo"])
def test_a_denied_plugin_is_refused_naming_the_file(listed):
    registry = Registry([ACME], Index(deny={listed: "/etc/ullme.toml"}))
    with pytest.raises(PluginRefused, match=rf"'{listed}' is denied by /etc/ullme\.toml"):
        registry.resolve("loss", "dpo")
    assert registry.status(ACME).startswith("refused: ")


def test_denial_is_decided_before_import(fake_dist):
    fake_dist("acme", {"ullme.losses": {"x": "acme_m:X"}}, {"acme_m": "raise SystemExit('imported')"})
    with pytest.raises(PluginRefused):
        Registry(index=Index(deny={"acme": "here"})).load("loss", "acme:x")


def test_an_allow_list_refuses_everyone_else_but_ours():
    registry = Registry([OURS, record("a", "acme"), record("b", "beta")], Index(allow={"beta": "here"}))
    assert registry.resolve("loss", "dpo") == OURS
    assert registry.resolve("loss", "b").dist == "beta"
    with pytest.raises(PluginRefused, match="'acme' is not in the allow list of here"):
        registry.resolve("loss", "a")


def test_our_names_are_reserved_and_the_others_stay_reachable():
    registry = Registry([ACME, OURS], Index())
    assert registry.resolve("loss", "dpo") == OURS
    assert registry.resolve("loss", "acme:dpo") == ACME
    assert registry.status(OURS) == "ok"
    assert registry.status(ACME) == "clash: use acme:dpo"


def test_two_strangers_of_one_name_are_an_error_that_says_what_to_write():
    registry = Registry([ACME, BETA], Index())
    with pytest.raises(AmbiguousPlugin, match="acme:dpo or beta:dpo"):
        registry.resolve("loss", "dpo")
    assert {registry.status(r) for r in registry.records} == {"clash: use acme:dpo", "clash: use beta:dpo"}


def test_a_preference_of_the_index_decides_even_over_ours():
    index = Index(prefer={"loss:dpo": "beta"})
    registry = Registry([ACME, BETA, OURS], index)
    assert registry.resolve("loss", "dpo") == BETA
    assert registry.resolve("loss", "acme:dpo") == ACME
    with pytest.raises(UnknownPlugin, match=r"prefers beta .* not installed"):
        Registry([OURS], index).resolve("loss", "dpo")


def test_an_unusable_candidate_does_not_make_a_name_ambiguous():
    unusable = record("dpo", "beta", problem="needs ullme>=99, found 0.1.0")
    registry = Registry([ACME, unusable], Index())
    assert registry.resolve("loss", "dpo") == ACME
    assert registry.status(unusable) == "needs ullme>=99, found 0.1.0"
    with pytest.raises(PluginRefused, match="needs ullme>=99"):
        Registry([unusable], Index()).load("loss", "dpo")


def test_known_but_not_installed_says_what_to_install():
    with pytest.raises(UnknownPlugin) as error:
        Registry([OURS], Index((KNOWN,))).resolve("loss", "simpo")
    assert str(error.value) == "loss 'simpo' is known but not installed.\n  pip install ullme-simpo"


def test_unknown_suggests_installed_and_known_names():
    registry = Registry([OURS, record("maen", "acme", "pooler")], Index((KNOWN, ALIASED)))
    with pytest.raises(UnknownPlugin, match=r"no loss named 'simp0' is installed\. Did you mean 'simpo'\?"):
        registry.resolve("loss", "simp0")
    with pytest.raises(UnknownPlugin, match="Did you mean 'sigmoid'"):
        registry.resolve("loss", "sigmiod")
    with pytest.raises(UnknownPlugin, match=r"Installed: dpo$") as error:
        registry.resolve("loss", "mean")
    assert "Did you mean" not in str(error.value), "names of other kinds are no help"


def test_the_wrong_distribution_is_told_from_an_unknown_name():
    with pytest.raises(UnknownPlugin, match=r"beta provides no loss named 'dpo'\. Installed: acme:dpo"):
        Registry([ACME], Index()).resolve("loss", "beta:dpo")


def test_names_are_those_of_the_kind():
    registry = Registry([OURS, ACME, record("b", "acme"), record("p", "acme", "pooler")], Index())
    assert registry.names("loss") == ["b", "dpo"]
    assert registry.names("connector") == []


def test_status_never_warns_or_raises():
    entry = IndexEntry("loss", "dpo", "acme", "DPO", status="deprecated")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Registry([ACME], Index((entry,))).status(ACME) == "deprecated"


GOOD = "from ullme import Loss\nclass Good(Loss):\n    'A loss.'\n"


def test_a_class_is_imported_once_and_only_when_asked_for(fake_dist):
    fake_dist("acme", {"ullme.losses": {"good": "acme_good:Good", "bad": "acme_bad:Bad"}}, {"acme_good": GOOD})
    registry = Registry()
    cls = registry.load("loss", "good")
    assert cls.__name__ == "Good"
    assert registry.load("loss", "acme:Good") is cls


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("", "AttributeError"),
        ("X = 5", "is not a subclass of ullme.Loss"),
        ("from ullme import Pooler as X", "is not a subclass of ullme.Loss"),
        (
            "from ullme import Loss, ComponentConfig\nclass X(Loss):\n    class Config(ComponentConfig): ...",
            "its Config must extend ullme.Loss.Config",
        ),
    ],
)
def test_what_cannot_be_loaded_is_attributed(fake_dist, source, says):
    fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}}, {"acme_x": source}, version="3.2")
    with pytest.raises(PluginLoadError) as error:
        Registry().load("loss", "x")
    assert "loss 'x' (acme 3.2, acme_x:X)" in str(error.value)
    assert says in str(error.value)
    assert isinstance(error.value, UllmeError)


def test_the_line_that_raised_is_named(fake_dist):
    folder = fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}}, {"acme_x": "\n\n1 / 0"})
    with pytest.raises(PluginLoadError, match=r"acme_x\.py:3") as error:
        Registry().load("loss", "x")
    assert str(folder) in str(error.value)


def test_abstract_methods_left_over_are_named(fake_dist):
    source = "from ullme import Exporter\nclass X(Exporter): ..."
    fake_dist("acme", {"ullme.exporters": {"x": "acme_x:X"}}, {"acme_x": source})
    with pytest.raises(PluginLoadError, match=r"does not implement export of ullme\.Exporter"):
        Registry().load("exporter", "x")


def test_a_missing_module_of_an_extra_says_which_extra(fake_dist):
    requires = ("numpy", "no-such-module>=1; extra == 'fast'")
    fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}}, {"acme_x": "import no_such_module"}, requires=requires)
    with pytest.raises(PluginLoadError, match=r"pip install 'acme\[fast\]'"):
        Registry().load("loss", "x")
