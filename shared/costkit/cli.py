"""The ``costkit`` program: one group of commands that every installed costkit package adds to.

A package adds its commands through the entry-point group ``costkit.commands``; each entry is a click command.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from costkit import __version__
from costkit.errors import ConfigurationError, CostkitError, DataError, MissingExtraError

__all__ = ["EXIT_CODES", "main"]

COMMANDS_GROUP = "costkit.commands"

# Exit codes by cause; 10 and above are a command's own (see `costkit eval --help`).
EXIT_CODES: dict[type[BaseException], int] = {
    ConfigurationError: 2,
    DataError: 3,
    MissingExtraError: 4,
    CostkitError: 5,
}
EXIT_INTERRUPTED = 130


class LazyCommands(click.Group):
    """Loads a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed commands."""
        return sorted({*super().list_commands(ctx), *_installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        found = _installed().get(cmd_name)
        return found.load() if found else super().get_command(ctx, cmd_name)


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=COMMANDS_GROUP)}


_HELP = """Cut the bill of RAG applications; prove that no harm was done.

\b
Examples:
  costkit models
  costkit eval --limit 20
  costkit ledger report --by tenant,model

\b
Exit codes: 0 done, 2 wrong option or setting, 3 bad data, 4 an optional dependency is missing,
5 any other error of costkit, 130 interrupted; a command's own codes stand in its help.
"""


@click.group(cls=LazyCommands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costkit")
def cli() -> None:
    """Group the commands; the help text is ``_HELP``."""


def exit_code(error: CostkitError) -> int:
    """Return the exit code for ``error``: the one of the most specific listed class."""
    return next(EXIT_CODES[base] for base in type(error).__mro__ if base in EXIT_CODES)


def main() -> None:
    """Run the program; costkit's own errors become one line on standard error and an exit code by cause."""
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except CostkitError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)  # a command that called Context.exit returns its code


if __name__ == "__main__":
    main()
