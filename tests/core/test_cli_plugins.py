"""list-plugins, show-plugin and doctor, over distributions made here."""

import json
import re
import subprocess
import sys

import pytest

from ullme import cli

pytest_plugins = ["ullme.testing.fixtures"]

FOCAL = '''
from typing import Literal

from pydantic import Field

from ullme import Loss


class Focal(Loss):
    """Looks at hard pairs only.

    The formula.
    """

    class Config(Loss.Config):
        gamma: float = Field(2.0, ge=0, lt=9, description="how hard")
        side: Literal["left", "right"] = "left"
        label: str
'''
RAISES = "raise RuntimeError('on import')"


@pytest.fixture
def acme(fake_dist):
    return fake_dist("acme", {"ullme.losses": {"focal": "acme_focal:Focal"}}, {"acme_focal": FOCAL}, version="1.5")


@pytest.fixture
def ullme(capsys):
    """Run a command; returns exit code, standard output, standard error."""

    def run(*argv):
        capsys.readouterr()
        code = cli.main(list(argv))
        return code, *capsys.readouterr()

    return run


def line_of(out, name):
    (line,) = (line for line in out.splitlines() if re.search(rf"\b{name}\b", line))
    return line


def test_a_plugin_is_listed_with_its_distribution(acme, ullme):
    code, out, err = ullme("list-plugins")
    assert (code, err) == (0, "")
    assert out.split("\n")[0].split() == ["kind", "name", "from", "status", "summary"]
    assert line_of(out, "focal").split(maxsplit=5) == ["loss", "focal", "acme", "1.5", "ok", "acme, made for a test"]


@pytest.mark.parametrize("kind", ["loss", "losses", "Loss"])
def test_a_kind_may_be_singular_or_plural(acme, ullme, kind):
    code, out, _ = ullme("list-plugins", kind)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"kind", "loss"}


def test_an_unknown_kind_gets_a_suggestion(ullme):
    code, _, err = ullme("list-plugins", "poolr")
    assert code == 2
    assert "unknown kind 'poolr'. Did you mean 'pooler'?" in err


def test_columns_are_aligned(acme, ullme):
    lines = ullme("list-plugins")[1].splitlines()
    for column in ("name", "from", "status"):
        start = lines[0].index(column)
        assert all(line[start - 1] == " " and line[start] != " " for line in lines)


def test_what_is_wrong_is_reported_and_nothing_raises(acme, fake_dist, ullme):
    fake_dist("acme-clash", {"ullme.losses": {"focal": "m:Other"}})
    fake_dist("acme-new", {"ullme.losses": {"newer": "m:N"}}, requires=("ullme>=99",))
    fake_dist("acme-odd", {"ullme.losses": {"odd": "my mod:N"}})
    fake_dist("acme-broken", "[ullme.losses]\nno equals sign\n")
    code, out, err = ullme("list-plugins", "losses")
    assert code == 0
    assert "clash: use acme:focal" in out
    assert "clash: use acme-clash:focal" in out
    assert "needs ullme>=99" in line_of(out, "newer")
    assert "malformed target" in line_of(out, "odd")
    assert re.match(r"note: .*acme_broken.* cannot be read", err)


def test_check_imports_and_fails_if_one_fails(acme, fake_dist, ullme):
    assert ullme("list-plugins", "hooks", "--check")[0] == 0
    fake_dist("acme-bad", {"ullme.hooks": {"bad": "acme_bad:Bad"}}, {"acme_bad": RAISES})
    assert ullme("list-plugins", "hooks")[0] == 0
    code, out, _ = ullme("list-plugins", "hooks", "--check")
    assert code == 1
    assert "fails: could not be imported: RuntimeError: on import" in line_of(out, "bad")


def test_available_adds_what_is_known_but_not_installed(ullme, tmp_path, monkeypatch):
    path = tmp_path / "registry.toml"
    row = '[[plugin]]\nkind = "loss"\nname = "far"\ndist = "ullme-far"\nsummary = "Far away"\n'
    path.write_text("index_version = 1\n" + row)
    monkeypatch.setenv("ULLME_REGISTRY", str(path))
    assert "ullme-far" not in ullme("list-plugins")[1]
    line = line_of(ullme("list-plugins", "losses", "--available")[1], "far")
    assert line.split() == ["loss", "far", "ullme-far", "pip", "install", "ullme-far", "Far", "away"]
    items = json.loads(ullme("list-plugins", "losses", "--available", "--json")[1])
    assert [item["status"] for item in items if item["name"] == "far"] == ["pip install ullme-far"]


def test_json_has_everything(acme, ullme):
    items = json.loads(ullme("list-plugins", "losses", "--json")[1])
    (item,) = (item for item in items if item["name"] == "focal")
    assert item == {
        "kind": "loss",
        "name": "focal",
        "dist": "acme",
        "version": "1.5",
        "target": "acme_focal:Focal",
        "origin": "index",
        "problem": None,
        "status": "ok",
        "summary": "acme, made for a test",
    }


def test_requirements_can_be_given_to_pip(acme, fake_dist, ullme):
    vcs = {"url": "https://x.org/v.git", "vcs_info": {"vcs": "git", "commit_id": "ab"}}
    editable = {"url": "file:///home/me/e", "dir_info": {"editable": True}}
    fake_dist("acme-vcs", {"ullme.losses": {"v": "m:V"}}, direct_url=vcs)
    fake_dist("acme-edit", {"ullme.losses": {"e": "m:E", "e2": "m:E"}}, direct_url=editable)
    lines = ullme("list-plugins", "losses", "--requirements")[1].splitlines()
    assert {"acme==1.5", "acme-vcs @ git+https://x.org/v.git@ab", "-e file:///home/me/e"} <= set(lines)
    assert len(lines) == len(set(lines))


def test_only_a_terminal_cuts_lines(acme, ullme, monkeypatch):
    assert all("…" not in line for line in ullme("list-plugins")[1].splitlines())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, ullme("list-plugins")[1].splitlines())) == 40


def test_nothing_installed_is_explained(ullme):
    code, out, _ = ullme("list-plugins", "connectors")
    assert code == 0
    assert "No connector plugins are installed." in out
    assert "ullme list-plugins --available" in out
    assert json.loads(ullme("list-plugins", "connectors", "--json")[1]) == []


def test_listing_imports_no_plugin_and_nothing_heavy(acme):
    heavy = {"torch", "transformers", "pydantic", "yaml", "pluggy", "entrypoints", "packaging", "acme_focal"}
    code = (
        "import sys; from ullme.cli import main; main(['list-plugins']); "
        f"print(*sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(acme)}
    )
    assert "focal" in done.stdout
    assert done.stderr.strip() == ""


def test_show_plugin_tells_settings_with_types_defaults_and_limits(acme, ullme):
    code, out, _ = ullme("show-plugin", "losses", "Focal")
    assert code == 0
    assert "Looks at hard pairs only.\n\n  The formula." in out
    assert re.search(r"from +acme 1\.5 \(index\)", out)
    assert re.search(rf"source +{re.escape(str(acme))}/acme_focal\.py:9\b", out)
    assert re.search(r"gamma +float += 2\.0 +>= 0; < 9; how hard", out)
    assert re.search(r"side +Literal\['left', 'right'\] += 'left'", out)
    assert re.search(r"label +str +required", out)
    assert re.search(r"weight +float += 1\.0", out)


def test_show_plugin_of_what_is_not_there(ullme, fake_dist):
    code, _, err = ullme("show-plugin", "los", "x")
    assert code == 2
    assert "unknown kind 'los'" in err
    fake_dist("acme-bad", {"ullme.losses": {"bad": "acme_bad:Bad"}}, {"acme_bad": RAISES})
    code, _, err = ullme("show-plugin", "loss", "bad")
    assert code == 2
    assert "loss 'bad' (acme-bad 1.0, acme_bad:Bad) could not be imported: RuntimeError: on import" in err


@pytest.fixture
def _no_torch(monkeypatch):
    """The doctor asks torch about devices, which takes seconds; here it does not."""
    monkeypatch.setattr("ullme.cli.doctor._devices", lambda: "CPU only")


@pytest.mark.usefixtures("_no_torch")
def test_the_doctor_finds_nothing_where_nothing_is_wrong(acme, ullme, monkeypatch, tmp_path):
    monkeypatch.setenv("ULLME_CACHE", str(tmp_path / "cache"))
    code, out, _ = ullme("doctor")
    assert "no problems found" in out
    assert code == 0
    assert re.search(r"cache +" + re.escape(str(tmp_path / "cache")), out)


@pytest.mark.usefixtures("_no_torch")
def test_the_doctor_names_every_problem_with_a_remedy(acme, fake_dist, ullme, monkeypatch, tmp_path):
    fake_dist("acme-clash", {"ullme.losses": {"focal": "m:Other"}})
    fake_dist("acme-new", {"ullme.losses": {"newer": "m:N"}}, requires=("ullme>=99",))
    fake_dist("acme-broken", "[ullme.losses]\nno equals sign\n")
    fake_dist("acme-twice", "[ullme.losses]\nx = a:X\nx = b:X\n")
    checkout = tmp_path / "checkout"
    (checkout / "src").mkdir(parents=True)
    table = '[project]\nname = "{}"\n[project.entry-points."ullme.losses"]\nsince = "m:Since"\n'
    (checkout / "pyproject.toml").write_text(table.format("acme-edit"))
    where = {"url": checkout.as_uri(), "dir_info": {"editable": True}}
    fake_dist("acme-edit", {"ullme.losses": {"before": "m:Before"}}, direct_url=where)
    forgotten = tmp_path / "forgotten"
    (forgotten / "src").mkdir(parents=True)
    (forgotten / "pyproject.toml").write_text(table.format("acme-forgotten"))
    monkeypatch.syspath_prepend(str(forgotten / "src"))
    monkeypatch.setenv("ULLME_CACHE", str(forgotten / "pyproject.toml"))

    code, out, _ = ullme("doctor")
    assert code == 1
    assert "loss 'focal' (acme-clash 1.0, m:Other): clash: use acme-clash:focal" in out
    assert "needs ullme>=99" in out
    assert re.search(r"problem: .*acme_broken", out)
    assert re.search(r"problem: .*acme_twice.*already exists", out)
    assert "acme-edit: entry points changed since installation: loss before, loss since" in out
    assert f"acme-forgotten in {forgotten} is on sys.path but not installed\n  pip install -e {forgotten}" in out
    assert "set ULLME_CACHE" in out


def test_the_doctor_asks_torch(ullme):
    import torch

    assert f"{torch.get_num_threads()} threads" in ullme("doctor")[1]
