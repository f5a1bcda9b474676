"""Plugins that are not installed, through the `entrypoints` package."""

import sys

import pytest

from ullme.errors import ConfigError
from ullme.plugins import discovery, local
from ullme.plugins.registry import Registry

pytest_plugins = ["ullme.testing.fixtures"]


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(discovery, "_declared", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_class_being_written_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_loss_draft.py").write_text("from ullme import Loss\nclass Draft(Loss):\n    'A draft.'\n")
    monkeypatch.chdir(tmp_path)
    local.activate(["losses:My_Draft=my_loss_draft:Draft"], [])
    registry = Registry()
    assert registry.load("loss", "my-draft").__name__ == "Draft"
    assert registry.resolve("loss", "local:my-draft").origin == "--plugin"


@pytest.mark.parametrize(
    "text", ["focal", "focal=m:X", "pool:focal=m:X", "loss:=m:X", "loss:focal", "loss:focal=my mod:X", "loss:focal=m"]
)
def test_a_malformed_plugin_option_says_what_was_expected(text):
    with pytest.raises(ConfigError, match=r"expected .*module:Class") as error:
        local.parse(text)
    assert f"--plugin {text}" in str(error.value)


def test_a_folder_of_distributions_is_seen_after_what_is_installed(fake_dist):
    folder = fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}})
    sys.path.remove(str(folder))
    assert "x" not in Registry().names("loss")
    local.activate([], [str(folder)])
    assert Registry().resolve("loss", "x").dist == "acme"
    assert sys.path[-1] == str(folder)


def test_folders_that_cannot_serve_are_refused(tmp_path, fake_dist):
    with pytest.raises(ConfigError, match="no such folder"):
        local.add_folder(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="advertises a plugin"):
        local.add_folder(tmp_path / "empty")
    twice = fake_dist("acme", "[ullme.losses]\nx = a:X\nx = b:X\n")
    with pytest.raises(ConfigError, match=r"unreadable entry_points\.txt"):
        local.add_folder(twice)


def test_a_folder_whose_plugin_is_installed_in_another_version_is_refused(fake_dist):
    newer = fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}}, version="2.0")
    sys.path.remove(str(newer))
    fake_dist("acme", {"ullme.losses": {"x": "acme_x:X"}}, version="1.0")
    with pytest.raises(ConfigError, match=r"it holds acme 2\.0, but 1\.0 is installed"):
        local.add_folder(newer)


def test_the_cross_check_names_what_only_entrypoints_refuses(fake_dist):
    folder = fake_dist("acme", "[ullme.losses]\nx = a:X\nx = b:X\n")
    (line,) = local.unreadable([str(folder), str(folder)])
    assert "acme-1.0.dist-info" in line.replace("_", "-")
    assert "already exists" in line
    good = fake_dist("beta", {"ullme.losses": {"y": "a:Y"}})
    assert local.unreadable([str(good), str(good / "missing")]) == []
