"""What the documentation shows is run: every YAML, every README command, every Python block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines import environment, ullme

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CI_RUNS_THEM = {"make quickstart", "make test"}  # `make test` is this; the quickstart is a test of its own, marked slow


MODELS = (ROOT / "docs" / "models.md").read_text("utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [line for line in (line.split("  #")[0].strip() for line in text.splitlines()) if line]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path):
    done = ullme("validate", path)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkout(tiny_models, tmp_path_factory) -> Path:
    """A folder where the README's commands find what they name: a tiny model in the place of the trained one."""
    from ullme import build_embedder
    from ullme.config.load import load_model

    folder = tmp_path_factory.mktemp("checkout")
    for name in ("examples", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    model = {"backbone": {"use": "llama", "path": str(tiny_models("llama"))}, "adapter": {}}
    build_embedder(load_model(model)).save(folder / "runs" / "quickstart" / "model")
    return folder


@pytest.mark.parametrize("command", [line for line in commands() if line not in CI_RUNS_THEM])
def test_every_readme_command_runs(command, checkout):
    assert command.startswith(("ullme ", "echo ", "printf ", "git clone ", "cd ", "pip install ")), command
    if command.startswith(("git clone ", "cd ", "pip install ")):
        pytest.skip("setting up a clone is what `make` and CI do")
    line = command.replace("ullme ", f"{shlex.quote(sys.executable)} -m ullme ")
    done = subprocess.run(
        line, shell=True, cwd=checkout, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", blocks("python"))
def test_every_readme_python_block_runs(code, checkout):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_help_with_an_example():
    from ullme.cli import COMMANDS

    for name in COMMANDS:
        done = ullme(name, "--help")
        assert done.returncode == 0
        assert f"example:\n  ullme {name}" in done.stdout or f"| ullme {name}" in done.stdout, name


def test_no_machine_path_stands_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    here = str(ROOT.parent) + os.sep
    for name in listed.stdout.splitlines():
        text = (ROOT / name).read_text("utf-8", errors="ignore")
        assert here not in text, name


def test_the_pipeline_that_the_readme_shows_is_valid(tmp_path):
    (tmp_path / "readme.yaml").write_text(blocks("yaml")[0])
    done = ullme("validate", tmp_path / "readme.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("yaml", MODELS), ids=range(len(blocks("yaml", MODELS))))
def test_every_model_section_of_the_documentation_is_valid(block, tmp_path):
    (tmp_path / "model.yaml").write_text(block)
    done = ullme("validate", tmp_path / "model.yaml")
    assert done.returncode == 0, done.stderr
