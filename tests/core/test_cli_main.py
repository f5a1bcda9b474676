"""The command line: options anywhere, messages instead of tracebacks, exit codes."""

import errno
import subprocess
import sys
import types

import pytest

from ullme import __version__, cli
from ullme.errors import ConfigError


@pytest.fixture
def command(monkeypatch):
    """Install a function as the body of the command `doctor`."""

    def install(body, add_arguments=lambda parser: None):
        module = types.ModuleType("ullme.cli.doctor")
        vars(module).update(SUMMARY="A test.", EXAMPLE="ullme doctor", add_arguments=add_arguments, run=body)
        monkeypatch.setitem(sys.modules, "ullme.cli.doctor", module)

    return install


def test_the_overview_lists_every_command_and_imports_none():
    code = (
        "import sys; from ullme.cli import main, COMMANDS; main(['--help']); "
        "print([m for m in sys.modules if m.startswith('ullme.cli.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
    assert "--plugin-path" in done.stdout
    assert done.stderr.strip() == "[]"


def test_without_a_command_the_overview_is_shown_and_the_exit_code_is_2(capsys):
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ullme {__version__}\n"


def test_common_options_stand_before_or_after_the_command(command, monkeypatch):
    seen = []
    monkeypatch.setattr("ullme.plugins.local.activate", lambda *given: seen.append(given))
    command(lambda args: 0)
    argv = ["--plugin", "loss:a=m:A", "doctor", "--plugin=loss:b=m:B", "--plugin-path", "here", "--debug"]
    assert cli.main(argv) == 0
    assert seen == [(["loss:a=m:A", "loss:b=m:B"], ["here"])]


def test_the_exit_code_is_that_of_the_command(command):
    command(lambda args: 1)
    assert cli.main(["doctor"]) == 1


def test_unknown_commands_and_options_get_one_message(capsys):
    assert cli.main(["list-plugin"]) == 2
    assert "error: unknown command 'list-plugin'. Did you mean 'list-plugins'?" in capsys.readouterr().err
    assert cli.main(["--verbose", "doctor"]) == 2
    assert "unknown option before the command '--verbose'" in capsys.readouterr().err
    assert cli.main(["list-plugins", "--nope"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: unrecognized arguments: --nope\nusage: ullme list-plugins")
    assert "Traceback" not in err


def fail(error):
    def body(args):
        raise error

    return body


def test_a_users_mistake_is_a_message_printed_as_it_is(command, capsys):
    command(fail(ConfigError("first line\n  second line")))
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "error: first line\n  second line\n"


def test_debug_shows_where(command, capsys):
    command(fail(ConfigError("what went wrong")))
    assert cli.main(["doctor", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: what went wrong\n")


def test_ctrl_c_is_one_line(command, capsys):
    command(fail(KeyboardInterrupt()))
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_place_that_cannot_be_written_is_named(command, capsys, number):
    command(fail(OSError(number, "reason of the system", "some/place")))
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: some/place: reason of the system.")


@pytest.mark.parametrize("bug", [ZeroDivisionError("ours"), FileNotFoundError(errno.ENOENT, "ours", "x")])
def test_a_bug_keeps_its_traceback(command, bug):
    command(fail(bug))
    with pytest.raises(type(bug)):
        cli.main(["doctor"])


def test_a_closed_pipe_is_quiet():
    code = "import sys; from ullme.cli import main; sys.exit(main(['list-plugins', '--available', '--json']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("name", ["list-plugins", "show-plugin", "doctor"])
def test_every_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"example:\n  ullme {name}" in out
    assert "--plugin kind:name=module:Class" in out
