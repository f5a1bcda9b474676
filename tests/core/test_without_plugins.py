"""The core is a distribution of its own: without plugins/ it builds, imports, lists nothing and says why."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder holding what pip installs from a checkout without plugins/ and without their entry points."""
    checkout = tmp_path_factory.mktemp("core-only")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "core", checkout / "core", ignore=skip)
    for name in ("README.md", "LICENSE", "registry.toml"):
        shutil.copy(ROOT / name, checkout)
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    text = re.sub(r'\[project\.entry-points\."ullme\.\w+"\]\n(?:.+\n)+', "", text)
    text = text.replace(', "plugins/ullme_plugins"]', "]").replace('["core", "plugins"]', '["core"]')
    assert "ullme_plugins." not in text.partition("[tool.")[0]
    (checkout / "pyproject.toml").write_text(text)

    site = checkout / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    install += ["--no-build-isolation", "--no-index", "--target", str(site), str(checkout)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    # Where the tests run, ullme_plugins may be importable from the checkout; here it must not be.
    (site / "ullme_plugins.py").write_text("raise ImportError('there are no first-party plugins here')\n")
    return site


def run(site, *command):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *command], env=environment, cwd=site.parent, capture_output=True, text=True)


def test_the_wheel_holds_the_core_and_the_index_alone(bare):
    assert (bare / "ullme" / "registry.toml").is_file()
    assert (bare / "ullme" / "py.typed").is_file()
    assert not (bare / "ullme_plugins").exists()


def test_every_public_name_can_be_imported(bare):
    done = run(bare, "-c", "import ullme; [getattr(ullme, name) for name in ullme.__all__]; print(ullme.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(bare / "ullme" / "__init__.py")


def test_listing_finds_nothing_and_explains(bare):
    done = run(bare, "-m", "ullme", "list-plugins")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No plugins are installed.\n")
    assert "ullme list-plugins --available" in done.stdout


def test_the_index_still_knows_what_could_be_installed(bare):
    done = run(bare, "-m", "ullme", "list-plugins", "poolers", "--available")
    assert "pip install ullme" in done.stdout


def test_a_name_that_is_known_but_not_here_says_what_to_install(bare):
    done = run(bare, "-m", "ullme", "show-plugin", "pooler", "mean")
    assert done.returncode == 2
    assert done.stderr == "error: pooler 'mean' is known but not installed.\n  pip install ullme\n"


def test_a_checkout_that_was_never_installed_says_so(tmp_path):
    code = (
        "import sys, importlib.metadata as m\n"
        "real = m.distributions\n"
        "m.distributions = lambda: (d for d in real() if d.metadata['Name'] != 'ullme')\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.distribution = missing\n"
        "from ullme.cli import main; sys.exit(main(['list-plugins']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "but not installed, so it has no entry points.\n  pip install -e . in its checkout" in done.stdout


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_no_test_of_the_core_imports_first_party_plugins(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.startswith("ullme_plugins") for name in names)


@pytest.mark.slow
def test_the_tests_of_the_core_pass_without_plugins(bare):
    shutil.copytree(
        ROOT / "tests", bare.parent / "tests", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    done = run(
        bare,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/core",
        "--ignore=tests/core/test_without_plugins.py",
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d{2,} passed", done.stdout)
