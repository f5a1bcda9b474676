"""The record of a run's plugins, and what counts as a difference."""

import json

import pytest

from ullme.errors import ConfigError, OutputError
from ullme.plugins import lock
from ullme.plugins.discovery import PluginRecord

RECORD = PluginRecord("loss", "x", "acme", "1.0", "acme:X")
OTHER = PluginRecord("pooler", "p", "beta", "2.0", "beta:P", "editable file:///home/me/beta")


def test_what_is_written_is_read_again(tmp_path):
    before = lock.snapshot([OTHER, RECORD, RECORD])
    before.write(tmp_path / "plugins.lock")
    assert lock.read(tmp_path / "plugins.lock") == before
    assert [row["name"] for row in before.plugins] == ["x", "p"], "each once, in a stable order"
    assert before.plugins[0] == {
        "kind": "loss",
        "name": "x",
        "dist": "acme",
        "version": "1.0",
        "target": "acme:X",
        "origin": "index",
    }
    assert before.environment.keys() >= {"python", "ullme", "torch", "transformers"}


def test_the_file_does_not_depend_on_the_order_of_plugins(tmp_path):
    lock.snapshot([OTHER, RECORD]).write(tmp_path / "a")
    lock.snapshot([RECORD, OTHER]).write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("now", "line"),
    [
        ({"version": "1.1"}, "loss 'acme:x': version 1.0 -> 1.1"),
        ({"target": "acme:Y"}, "loss 'acme:x': target acme:X -> acme:Y"),
        ({"origin": "git+https://x@ab"}, "loss 'acme:x': origin index -> git+https://x@ab"),
    ],
)
def test_a_changed_plugin_is_described(now, line):
    changed = PluginRecord(**{**vars(RECORD), **now})
    assert lock.compare(lock.snapshot([RECORD]), lock.snapshot([changed])) == [line]


def test_added_and_dropped_plugins_are_named():
    assert lock.compare(lock.snapshot([RECORD]), lock.snapshot([OTHER])) == [
        "loss 'acme:x' is no longer used",
        "pooler 'beta:p' is new",
    ]


def test_two_commits_of_one_version_differ_but_the_place_of_a_checkout_does_not_count():
    def at(origin):
        return lock.snapshot([PluginRecord(**{**vars(RECORD), "origin": origin})])

    assert lock.compare(at("git+https://x.org/a@1"), at("git+https://x.org/a@2"))
    assert not lock.compare(at("editable file:///home/me/a"), at("editable file:///srv/a"))
    assert lock.compare(at("editable file:///home/me/a"), at("index"))


def test_versions_of_other_packages_are_information_only():
    before = lock.snapshot([RECORD])
    after = lock.Lock(before.plugins, {**before.environment, "torch": "0.0"})
    assert lock.compare(before, after) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lock_version": 1}', '{"lock_version": 1, "plugins": [{}]}'])
def test_a_damaged_lock_is_named(tmp_path, text):
    path = tmp_path / "plugins.lock"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"plugins\.lock: not a plugins\.lock"):
        lock.read(path)


def test_a_lock_of_another_format_is_refused(tmp_path):
    path = tmp_path / "plugins.lock"
    path.write_text(json.dumps({"lock_version": 2}))
    with pytest.raises(ConfigError, match="lock_version is 2"):
        lock.read(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        lock.read(tmp_path / "missing")
    with pytest.raises(OutputError, match="nowhere"):
        lock.snapshot([RECORD]).write(tmp_path / "nowhere" / "plugins.lock")
