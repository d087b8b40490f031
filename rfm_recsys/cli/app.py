"""The application that Typer runs: it lists the commands by their summaries, and imports the one that is called."""

import io
import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from rfm_recsys import __version__
from rfm_recsys.cli import COMMANDS, HELP, summary
from rfm_recsys.cli.console import console, status
from rfm_recsys.core.extras import extra, missing_extra
from rfm_recsys.core.wording import ON_COMMAND_LINE
from rfm_recsys.errors import RfmRecsysError


class _Commands(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _imported(str(name)), rest


def _imported(name: str) -> Any:
    with status("importing"), extra(COMMANDS[name]):
        module = import_module(f"rfm_recsys.cli.{name}")
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(module, name))
    return typer.main.get_command(alone)


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, help=HELP)
for _name in COMMANDS:
    app.command(_name, help=summary(_name))(lambda: None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(help=HELP)
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Take the options that stand before a command."""


def run() -> None:
    """Run the command line; errors of ours and the system's are one line on stderr and exit status 2."""
    ON_COMMAND_LINE.set(True)
    for stream in (sys.stdout, sys.stderr):  # an id may be no text at all
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warn  # type: ignore[assignment]
    try:
        app()
    except BrokenPipeError:  # of head, and the like
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (RfmRecsysError, OSError) as error:
        _fail(error)
    except ModuleNotFoundError as error:  # PackageNotFoundError, too
        _fail(missing_extra(error, COMMANDS.get(sys.argv[1], "cli")))


def _warn(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Show a warning in one line."""
    if not issubclass(category, DeprecationWarning):
        console(stderr=True).print(f"Warning: {message}", style="yellow", markup=False, highlight=False)


def _fail(error: Exception) -> None:
    console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
    sys.exit(2)
