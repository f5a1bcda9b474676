"""Sub-commands that other distributions bring."""

import subprocess
import sys

import pytest

from ullme import cli

pytest_plugins = ["ullme.testing.fixtures"]

MODULE = """
SUMMARY = "Greets."
EXAMPLE = "ullme greet"
def add_arguments(parser):
    parser.add_argument("--name", default="you")
def run(args):
    print("hello", args.name)
    return 3
"""


def bring(fake_dist, source=MODULE, name="acme", **more):
    return fake_dist(name, {"ullme.commands": {"greet": f"{name}_greet"}}, {f"{name}_greet": source}, **more)


def test_it_runs_like_any_other(fake_dist, capsys):
    bring(fake_dist)
    assert cli.main(["greet", "--name", "there", "--debug"]) == 3
    assert capsys.readouterr().out == "hello there\n"


def test_its_help_is_its_own(fake_dist, capsys):
    bring(fake_dist)
    with pytest.raises(SystemExit):
        cli.main(["greet", "--help"])
    assert "Greets." in capsys.readouterr().out


def test_the_overview_lists_it_and_imports_it_not(fake_dist, capsys):
    bring(fake_dist, "raise RuntimeError('imported')")
    assert cli.main(["--help"]) == 0
    assert "  greet " in (out := capsys.readouterr().out)
    assert "a command of acme 1.0" in out


def test_a_near_miss_names_it(fake_dist, capsys):
    bring(fake_dist)
    assert cli.main(["gret"]) == 2
    assert "unknown command 'gret'. Did you mean 'greet'?" in capsys.readouterr().err


def test_nobody_replaces_a_command_of_ullme(fake_dist, capsys):
    fake_dist("acme", {"ullme.commands": {"doctor": "acme_greet"}}, {"acme_greet": MODULE})
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--help"])
    assert "Greets." not in capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert "acme" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "command 'greet' (acme 1.0, acme_greet) could not be imported: ZeroDivisionError"),
        ("SUMMARY = ''\ndef run(args): ...", "offers no EXAMPLE, add_arguments"),
    ],
)
def test_a_broken_one_is_blamed_on_its_distribution(fake_dist, capsys, source, message):
    bring(fake_dist, source)
    assert cli.main(["greet"]) == 2
    assert message in capsys.readouterr().err


def test_one_that_does_not_fit_this_ullme_is_not_imported(fake_dist, capsys):
    bring(fake_dist, "raise RuntimeError('imported')", requires=("ullme>=99",))
    assert cli.main(["greet"]) == 2
    assert "needs ullme>=99" in capsys.readouterr().err


def test_a_denied_one_is_not_imported(fake_dist, capsys, tmp_path, monkeypatch):
    layer = tmp_path / "layer.toml"
    layer.write_text('index_version = 1\n[policy]\ndeny = ["acme"]\n')
    monkeypatch.setenv("ULLME_REGISTRY", str(layer))
    bring(fake_dist, "raise RuntimeError('imported')")
    assert cli.main(["greet"]) == 2
    assert "'acme' is denied by" in capsys.readouterr().err


def test_two_of_one_name_are_refused(fake_dist, capsys):
    bring(fake_dist)
    bring(fake_dist, name="other")
    assert cli.main(["greet"]) == 2
    assert "several distributions bring the command 'greet'" in capsys.readouterr().err


def test_a_command_of_ullme_reads_no_metadata():
    code = (
        "import sys, importlib.metadata as m\n"
        "m.distributions = lambda: sys.exit('metadata was read')\n"
        "from ullme.cli import main\n"
        "try: main(['doctor', '--help'])\n"
        "except SystemExit as done: print(done.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0", done.stderr
