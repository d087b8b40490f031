"""The command line ``rfm-recsys``: a module for each command, with a function of the same name.

This module itself needs the core packages only, so that the command answers in every installation.
"""

import ast
import sys
from pathlib import Path

from rfm_recsys import __version__
from rfm_recsys.core.extras import extra
from rfm_recsys.errors import MissingExtraError

HELP = "lin-RFM recommendations."
COMMANDS = {  # and the extra that each needs
    "example": "cli",
    "fit": "cli",
    "update": "cli",
    "recommend": "cli",
    "similar": "cli",
    "explain": "cli",
    "features": "cli",
    "report": "evaluation",
    "compare": "evaluation",
    "paper": "paper",
}


def main() -> None:
    """Run the command line; an interruption ends it with one line, at any moment."""
    try:
        _main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _main() -> None:
    """Run the command line; without the packages that it needs, print the help or which extra brings them."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    try:
        with extra(COMMANDS.get(first, "cli")):
            from rfm_recsys.cli.app import run
    except MissingExtraError as error:
        if first == "--version":
            print(__version__)
        elif first == "--help":
            print("\n".join(_plain_help()))
        else:
            print(f"Error: {error}", file=sys.stderr)
            sys.exit(2)
    else:
        run()


def summary(command: str) -> str:
    """Return the first line of a command's docstring; its module is read, not imported."""
    tree = ast.parse(Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == command)
    return (ast.get_docstring(function) or "").partition("\n")[0]


def _plain_help() -> list[str]:
    commands = [f"  {name:10} {summary(name)} [{needed}]" for name, needed in COMMANDS.items()]
    install = f"A command needs the extra in brackets: pip install 'rfm-recsys[{COMMANDS['fit']}]', for example."
    return ["Usage: rfm-recsys [OPTIONS] COMMAND [ARGS]...", "", HELP, "", "Commands:", *commands, "", install]
