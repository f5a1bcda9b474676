"""The `ullme` command: parses the command line and turns errors into messages. Commands are imported when chosen."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from ullme import __version__
from ullme.errors import ConfigError, UllmeError

COMMANDS = {
    "run": "train, evaluate and export as a YAML file says; continue where it stopped",
    "train": "only the training stages of a YAML file",
    "evaluate": "score a model directory, or the model of a YAML file",
    "encode": "texts to vectors",
    "export": "a model directory in a format that other programs read",
    "merge": "a model directory with its adapter folded into the weights",
    "verify": "does a loaded or served copy give the model's vectors?",
    "validate": "check a YAML file without building anything",
    "schema": "JSON Schema of what is installed here, for editors",
    "list-plugins": "installed plugins, where each comes from, whether it can be used",
    "show-plugin": "what one plugin does, its settings and its source",
    "doctor": "look for what is wrong with this installation",
}
"""Name and one line for the overview; the module is `ullme.cli.<name with underscores>`. Others are plugins."""


class Command(Protocol):
    """What a command's module offers. `EXAMPLE` is one command line, or several, one a line."""

    SUMMARY: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code. Raises UllmeError for what the user can mend."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}\n{self.format_usage().rstrip()}\n  {self.prog} --help explains them")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a user's mistake, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # so that a closed pipe is noticed here, not at interpreter exit
        return code
    except KeyboardInterrupt:
        return _report("interrupted", 130)
    except BrokenPipeError:  # `ullme ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UllmeError as error:
        return _report(f"error: {error}", 2, "--debug" in arguments)
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _report(
            f"error: {place}{error.strerror}. Make room there or name another place.", 2, "--debug" in arguments
        )


def _dispatch(arguments: list[str]) -> int:
    common = _common_options()
    options, rest = common.parse_known_args(arguments)
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_overview(common))
        return 0 if rest else 2
    if rest[0] == "--version":
        print(f"ullme {__version__}")
        return 0
    command, *rest = rest
    if options.plugin or options.plugin_path:
        from ullme.plugins.local import activate

        activate(options.plugin, options.plugin_path)

    module = _module(command)
    parser = _Parser(
        prog=f"ullme {command}",
        description=module.SUMMARY,
        epilog="example:\n" + "\n".join(f"  {line}" for line in module.EXAMPLE.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(rest))


def _module(command: str) -> Command:
    """The module of a command: ullme's own, which nobody can replace, or one that a distribution advertises."""
    if command in COMMANDS:
        return cast(Command, import_module(f"{__name__}.{command.replace('-', '_')}"))
    from ullme.plugins import commands

    module = commands.load(command)
    if module is None:
        raise ConfigError(_unknown(command, [record.name for record in commands.find()]))
    return cast(Command, module)


def _common_options() -> argparse.ArgumentParser:
    """Options that every command takes, written before or after its name."""
    common = _Parser(prog="ullme", add_help=False, allow_abbrev=False)
    group = common.add_argument_group("for every command")
    where = "kind:name=module:Class"
    group.add_argument("--plugin", action="append", default=[], metavar=where, help="a plugin that is being written")
    folder = "plugins in a folder made by `pip install --target DIR`"
    group.add_argument("--plugin-path", action="append", default=[], metavar="DIR", help=folder)
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return common


def _overview(common: argparse.ArgumentParser) -> str:
    from ullme.plugins.commands import find

    advertised = {record.name: f"a command of {record.dist} {record.version}" for record in find()}
    commands = COMMANDS | {name: summary for name, summary in advertised.items() if name not in COMMANDS}
    width = max(map(len, commands))
    lines = ["usage: ullme COMMAND ...", "", "Decoder language models become text-embedding models.", "", "commands:"]
    lines += [f"  {name:{width}}  {summary}" for name, summary in commands.items()]
    options = common.format_help().partition("\n\n")[2].rstrip()
    lines += [
        "",
        options,
        "",
        "example:",
        "  ullme run examples/quickstart.yaml",
        "",
        "ullme COMMAND --help says more.",
    ]
    return "\n".join(lines)


def _unknown(command: str, advertised: Sequence[str]) -> str:
    from difflib import get_close_matches

    known = [*COMMANDS, *advertised]

    what = "option before the command" if command.startswith("-") else "command"
    meant = "".join(f" Did you mean '{close}'?" for close in get_close_matches(command, known, n=1))
    return f"unknown {what} '{command}'.{meant}\n  Commands: {', '.join(known)}"


def _report(message: str, code: int, with_traceback: bool = False) -> int:
    if with_traceback:
        import traceback

        traceback.print_exc()
    print(message, file=sys.stderr)
    return code
