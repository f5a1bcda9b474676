"""Distributions of strangers, installed by pip into a scratch folder: a good one, a failing one, a clashing one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ullme import __version__
from ullme.plugins.registry import Registry

pytest_plugins = ["ullme.testing.fixtures"]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugins" / "ullme-focal"
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
dependencies = ["ullme>=0.1"]
[project.entry-points."ullme.losses"]
{plugin} = "{module}:{cls}"
[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""
CLASH = '''
from ullme import Loss, Vector


class Mine(Loss):
    """A stranger's loss under a name that ullme uses itself."""

    needs = (Vector("query"),)

    def __call__(self, batch):
        return batch.vector("query").sum(1)
'''


def write_project(folder, name, plugin, source, cls="Mine", version="1.0"):
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(source)
    fields = {"name": name, "version": version, "plugin": plugin, "module": module, "cls": cls}
    (folder / "pyproject.toml").write_text(PROJECT.format(**fields))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the three."""
    work = tmp_path_factory.mktemp("strangers")
    shutil.copytree(EXAMPLE, work / "focal", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    projects = [
        work / "focal",
        write_project(work / "broken", "ullme-broken", "broken", "raise RuntimeError('no driver found')\n"),
        write_project(work / "clash", "ullme-clash", "dpo", CLASH, version="2.5"),
    ]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    install += ["--no-build-isolation", "--no-index", "--target", str(work / "site"), *map(str, projects)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return work / "site"


@pytest.fixture(scope="module")
def ullme(site):
    """Run a command in a fresh interpreter that sees the three distributions."""

    def run(*argv, path=site):
        environment = {**os.environ, "PYTHONPATH": str(path or "")}
        command = [sys.executable, "-m", "ullme", *argv]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def listed(ullme):
    done = ullme("list-plugins", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return {f"{item['dist']}:{item['name']}": item for item in json.loads(done.stdout)}


def test_the_good_one_is_listed_with_distribution_and_version(listed, ullme):
    assert listed["ullme-focal:focal-dpo"]["version"] == "0.3.0"
    assert listed["ullme-focal:focal-dpo"]["status"] == "ok"
    (line,) = (line for line in ullme("list-plugins", "losses").stdout.splitlines() if "focal-dpo" in line)
    assert "ullme-focal 0.3.0" in line
    assert "DPO that looks at the pairs" in line


def test_the_clashing_one_is_reported_and_reachable(listed, ullme):
    assert listed["ullme-clash:dpo"]["status"] == "clash: use ullme-clash:dpo"
    assert listed["ullme:dpo"]["status"] == "ok"
    assert "ullme_plugins.losses.dpo:DPO" in ullme("show-plugin", "loss", "dpo").stdout
    assert "A stranger's loss" in ullme("show-plugin", "loss", "ullme-clash:dpo").stdout


def test_the_failing_one_fails_only_when_it_is_asked_for(listed, ullme):
    assert listed["ullme-broken:broken"]["status"] == "ok", "listing must not import it"
    done = ullme("list-plugins", "losses", "--check", "--json")
    assert done.returncode == 1
    status = {item["name"]: item["status"] for item in json.loads(done.stdout) if item["dist"] != "ullme-clash"}
    assert status.pop("broken") == "fails: could not be imported: RuntimeError: no driver found"
    assert set(status.values()) == {"ok"}

    done = ullme("show-plugin", "loss", "broken")
    assert done.returncode == 2
    assert "loss 'broken' (ullme-broken 1.0, ullme_broken:Mine) could not be imported" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_else_is_disturbed(listed, ullme):
    without = {f"{i['dist']}:{i['name']}": i for i in json.loads(ullme("list-plugins", "--json", path=None).stdout)}
    assert {key: listed[key] for key in without} == without
    assert listed.keys() - without.keys() == {"ullme-focal:focal-dpo", "ullme-clash:dpo", "ullme-broken:broken"}


def test_show_plugin_describes_the_good_one(ullme):
    done = ullme("show-plugin", "loss", "focal-dpo")
    assert done.returncode == 0
    assert "DPO whose pairs weigh" in done.stdout
    assert "gamma" in done.stdout
    assert f"ullme_focal{os.sep}__init__.py" in done.stdout


def test_it_is_composed_from_yaml(ullme, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"query": "q", "positives": ["p"], "negatives": ["n"]}) + "\n")
    pipeline = tmp_path / "focal.yaml"
    pipeline.write_text(
        "model:\n  backbone: {use: llama, path: some/model}\n"
        "stages:\n"
        "  - name: grl\n"
        f"    data: {{use: jsonl, path: {tmp_path / 'rows.jsonl'}}}\n"
        "    losses: [{use: infonce}, {use: focal-dpo, weight: 0.5, gamma: 1}, {use: 'ullme-clash:dpo'}]\n"
        "    trainer: {max_steps: 1, batch_size: 1}\n"
    )
    done = ullme("validate", str(pipeline))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ullme-focal" in done.stdout

    done = ullme("validate", str(pipeline), "--set", "stages.0.losses.1.gama=2")
    assert done.returncode == 2
    assert "Did you mean 'gamma'?" in done.stderr
    done = ullme("validate", str(pipeline), path=None)
    assert done.returncode == 2
    assert "focal-dpo" in done.stderr


def test_a_folder_can_be_given_on_the_command_line(ullme, site):
    done = ullme("--plugin-path", str(site), "list-plugins", "losses", path=None)
    assert "ullme-focal 0.3.0" in done.stdout


def test_the_example_passes_its_own_tests(site):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    done = subprocess.run(command, env=environment, cwd=EXAMPLE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_example_loss_is_under_20_lines():
    source = (EXAMPLE / "src" / "ullme_focal" / "__init__.py").read_text()
    assert len([line for line in source.splitlines() if line.strip()]) < 20


def test_a_first_party_plugin_works_from_a_distribution_of_its_own(fake_dist):
    """Being built in is only a matter of packaging: the file moves elsewhere without a change."""
    ours = Registry().load("pooler", "mean")
    source = Path(sys.modules[ours.__module__].__file__).read_text("utf-8")
    entry_points = {"ullme.poolers": {"mean": f"ullme_lifted_mean:{ours.__name__}"}}
    fake_dist("ullme-lifted", entry_points, {"ullme_lifted_mean": source}, requires=(f"ullme=={__version__}",))

    registry = Registry()
    lifted = registry.load("pooler", "ullme-lifted:mean")
    assert lifted.__module__ == "ullme_lifted_mean"
    assert registry.load("pooler", "mean") is not lifted
    assert registry.status(registry.resolve("pooler", "ullme-lifted:mean")) == "clash: use ullme-lifted:mean"

    import torch

    hidden, mask = torch.randn(2, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert lifted().build(4)(hidden, mask).equal(ours().build(4)(hidden, mask))


def test_it_trains_and_the_lock_names_its_distribution(ullme, tiny_models, tmp_path):
    from pipelines import pipeline, write, write_rows

    content = pipeline(tiny_models("llama"), write_rows(tmp_path / "rows.jsonl"), tmp_path / "run", max_steps=3)
    content["stages"][0]["losses"] = ["infonce", {"use": "focal-dpo", "weight": 0.5, "gamma": 1}]
    done = ullme("run", str(write(tmp_path / "focal.yaml", content)), "--no-progress")
    assert done.returncode == 0, done.stderr
    header, *rows = (tmp_path / "run/stages/1-grl/metrics.csv").read_text().splitlines()
    assert "loss/focal-dpo" in header.split(",")
    assert len(rows) == 3
    lock = json.loads((tmp_path / "run" / "plugins.lock").read_text())
    mine = next(row for row in lock["plugins"] if row["name"] == "focal-dpo")
    assert (mine["dist"], mine["version"]) == ("ullme-focal", "0.3.0")
