# SPDX-License-Identifier: Apache-2.0
"""The command ``sealway``: its groups, and the one place where errors become lines and exit codes.

What a command needs is imported inside the command, so that ``sealway --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import TyperException

from sealway.cli import messages
from sealway.cli.adversary import adversary_group
from sealway.cli.commission import commission_command
from sealway.cli.config.command import VARIABLE, config_group, load
from sealway.cli.config.groups import GROUPS
from sealway.cli.config.settings import PREFIX
from sealway.cli.demo.command import demo
from sealway.cli.exchange import introduce_command, open_command, seal_command
from sealway.cli.inspect import inspect_command
from sealway.cli.keystore import keystore_group
from sealway.cli.state import state_group
from sealway.errors import SealwayError

TRACEBACK: Final = "SEALWAY_TRACEBACK"

cli = typer.Typer(
    name="sealway",
    help="Messages between things and applications, sealed from end to end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, group in GROUPS.items():  # what these are not told by options, they look for in the environment
    cli.add_typer(group, name=name, context_settings={"auto_envvar_prefix": f"{PREFIX}_{name}"})
cli.add_typer(config_group, name="config")
cli.add_typer(adversary_group, name="adversary")
cli.add_typer(state_group, name="state")
cli.add_typer(keystore_group, name="keystore")
cli.command("commission")(commission_command)
cli.command("seal")(seal_command)
cli.command("open")(open_command)
cli.command("introduce")(introduce_command)
cli.command("inspect")(inspect_command)
cli.command("demo")(demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        messages.say(f"sealway {version('sealway')}")
        raise typer.Exit


@cli.callback()
def _root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", envvar=VARIABLE, help="settings, in TOML")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, allow_from_autoenv=False, help="print the version"
        ),
    ] = False,
) -> None:
    """Messages between things and applications, sealed from end to end."""
    if config is not None:
        context.default_map = load(config)


def main() -> NoReturn:
    """Run the command line of this process and exit: 0 ok, 2 usage, 3 refused, 4 transport, 5 state."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong is told in ``error:`` and ``hint:`` lines."""
    try:
        return _run(arguments)
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        messages.complain(f"unexpected {type(error).__name__}", f"set {TRACEBACK}=1 to see where, and report it")
        return messages.FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        outcome = cli(args=list(arguments), prog_name="sealway", standalone_mode=False)
    except TyperException as error:
        return _usage(error)
    except SealwayError as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        messages.complain(error.message, error.hint)
        return messages.exit_code(error)
    except (KeyboardInterrupt, typer.Abort):
        messages.complain("stopped")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush into
        return messages.FAILED
    return outcome if isinstance(outcome, int) else messages.OK


def _usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        messages.say(context.get_help())
        return messages.USAGE
    text = error.format_message().strip().rstrip(".").replace("\n", " ")
    where = context.command_path if context is not None else "sealway"
    messages.complain(text[:1].lower() + text[1:] + _variable(error), f"{where} --help")
    return messages.USAGE


def _variable(error: TyperException) -> str:
    """Name the variable of the environment that a value came from, if it did."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or parameter is None:
        return ""
    source = context.get_parameter_source(parameter.name)
    if source is None or source.name != "ENVIRONMENT":
        return ""
    return f", in {parameter.envvar or f'{context.auto_envvar_prefix}_{parameter.name}'.upper()}"


if __name__ == "__main__":
    main()
