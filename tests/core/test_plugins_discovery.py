"""Discovery reads metadata only, and no distribution can disturb another."""

import sys

import pytest

from ullme.plugins import discovery
from ullme.plugins.discovery import scan, survey

pytest_plugins = ["ullme.testing.fixtures"]

RAISES = "raise RuntimeError('imported during discovery')"


def found(dist):
    return [record for record in scan() if record.dist == dist]


def test_a_plugin_is_found_without_being_imported(fake_dist):
    fake_dist("Acme_Focal", {"ullme.losses": {"Focal_DPO": "acme_focal:Focal"}}, {"acme_focal": RAISES}, version="2.1")
    (record,) = found("acme-focal")
    assert (record.kind, record.name, record.version) == ("loss", "focal-dpo", "2.1")
    assert (record.target, record.origin, record.problem) == ("acme_focal:Focal", "index", None)
    assert record.qualified == "acme-focal:focal-dpo"
    assert "acme_focal" not in sys.modules


def test_entry_points_of_other_groups_are_none_of_our_business(fake_dist):
    fake_dist("acme-cli", {"console_scripts": {"acme": "acme:main"}, "ullme.unheard-of": {"x": "acme:X"}})
    assert found("acme-cli") == []


@pytest.mark.parametrize(
    ("direct_url", "origin"),
    [
        ({"url": "file:///home/me/acme", "dir_info": {"editable": True}}, "editable file:///home/me/acme"),
        ({"url": "file:///home/me/acme", "dir_info": {}}, "file:///home/me/acme"),
        ({"url": "https://x.org/a.whl", "archive_info": {}}, "https://x.org/a.whl"),
        (
            {"url": "https://x.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
            "git+https://x.org/a.git@ab12",
        ),
    ],
)
def test_origin_is_that_of_pep_610(fake_dist, direct_url, origin):
    fake_dist("acme", {"ullme.losses": {"x": "acme:X"}}, direct_url=direct_url)
    assert found("acme")[0].origin == origin


@pytest.mark.parametrize("target", ["my mod:Focal", "acme", "acme:", "acme:Focal.", "acme:Focal[extra"])
def test_a_malformed_target_is_a_problem_of_that_plugin_alone(fake_dist, target):
    fake_dist("acme", {"ullme.losses": {"bad": target, "good": "acme:Good"}})
    problems = {record.name: record.problem for record in found("acme")}
    if target != "acme:Focal.":  # odd, yet what the standard allows
        assert "malformed target" in problems["bad"]
        assert target in problems["bad"]
    assert problems["good"] is None


@pytest.mark.parametrize(
    ("requires", "problem"),
    [
        ("ullme>=99", "needs ullme>=99, found"),
        ("ULLME (<0.0.1)", "needs ullme<0.0.1, found"),
        ("ullme>=0.1", None),
        ("ullme-other>=99", None),
        ('ullme>=99; extra == "future"', None),
        ('ullme>=99; python_version < "3"', None),
    ],
)
def test_requires_dist_is_checked_without_importing(fake_dist, requires, problem):
    fake_dist("acme", {"ullme.losses": {"x": "acme:X"}}, {"acme": RAISES}, requires=("torch", requires))
    found_problem = found("acme")[0].problem
    assert found_problem is None if problem is None else problem in found_problem


@pytest.mark.parametrize(
    "broken",
    [
        {"entry_points": "[ullme.losses]\nthis line has no equals sign\n"},
        {"entry_points": {"ullme.losses": {"x": "acme:X"}}, "metadata": ""},
        {"entry_points": {"ullme.losses": {"x": "acme:X"}}, "requires": ("ullme ~~ what",)},
        {"entry_points": {"ullme.losses": {"x": "acme:X"}}, "direct_url": {"no": "url"}},
    ],
)
def test_a_broken_distribution_becomes_a_fault_and_disturbs_no_other(fake_dist, broken):
    before = scan()
    fake_dist("acme-good", {"ullme.losses": {"good": "acme:Good"}})
    fake_dist("acme-broken", broken.pop("entry_points"), **broken)
    records, faults = survey()
    assert set(records) == {*before, *found("acme-good")}
    (fault,) = faults
    assert "acme_broken-1.0.dist-info" in fault.where
    assert fault.problem


def test_bytes_that_are_no_text_become_a_fault(fake_dist):
    folder = fake_dist("acme", {"ullme.losses": {"x": "acme:X"}})
    (entry_points,) = folder.glob("*/entry_points.txt")
    entry_points.write_bytes(b"[ullme.losses]\nx = acme:\xff\xfe\n")
    assert ["UnicodeDecodeError" in fault.problem for fault in survey().faults] == [True]


def test_twins_collapse_and_the_first_on_the_path_wins(fake_dist):
    fake_dist("acme", {"ullme.losses": {"x": "acme:Old", "gone": "acme:Gone"}}, version="1.0")
    fake_dist("acme", {"ullme.losses": {"x": "acme:New"}}, version="2.0")  # put before the other
    assert [(r.name, r.version, r.target) for r in found("acme")] == [("x", "2.0", "acme:New")]


def test_one_name_for_two_targets_is_a_problem_and_for_one_target_is_not(fake_dist):
    fake_dist("acme", "[ullme.losses]\nx = a:X\nX = b:X\ny = a:Y\nY = a:Y\n")
    problems = [(r.name, r.target, r.problem is not None) for r in found("acme")]
    assert problems == [("x", "a:X", True), ("x", "b:X", True), ("y", "a:Y", False)]


def test_a_distribution_without_plugins_hides_its_older_self(fake_dist):
    fake_dist("acme", {"ullme.losses": {"x": "acme:Old"}}, version="1.0")
    fake_dist("acme", {"console_scripts": {"acme": "acme:main"}}, version="2.0")
    assert found("acme") == []


def test_a_scan_sees_what_was_installed_a_moment_ago(fake_dist):
    assert found("acme") == []
    fake_dist("acme", {"ullme.poolers": {"x": "acme:X"}})
    assert len(found("acme")) == 1


def test_the_order_does_not_depend_on_the_path(fake_dist, monkeypatch):
    for name in ("b-dist", "a-dist"):
        fake_dist(name, {"ullme.poolers": {"y": "m:Y", "x": "m:X"}, "ullme.losses": {"z": "m:Z"}})

    def theirs():
        return [record for record in scan() if record.dist in ("a-dist", "b-dist")]

    forward = theirs()
    assert len(forward) == 6
    monkeypatch.setattr(sys, "path", sys.path[::-1])
    assert theirs() == forward


def test_summary_falls_back_to_that_of_the_distribution(fake_dist):
    fake_dist("acme", {"ullme.losses": {"x": "acme:X"}})
    assert discovery.summary_of("acme") == "acme, made for a test"
    assert discovery.summary_of("no-such-distribution") == ""
