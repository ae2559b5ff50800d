# SPDX-License-Identifier: MIT
"""The command line. One file a verb, imported when it is used.

Here is what all verbs share: how they are found, and how an error becomes one line and an exit status. What a verb does
is decided on the floors below; a verb only asks for it and shows it.
"""

from __future__ import annotations

from importlib import import_module

import click

from localq import __version__
from localq.errors import AttachError, ConfigError, LocalqError

__all__ = ["UNHEALTHY", "WRONG_CALL", "localq", "main"]

UNHEALTHY = 1  # what was asked for was done, and the answer is no
WRONG_CALL = 2  # it can't be done as asked: what click says of usage errors, too

# In the order of the help; each is the function of that name in the module of that name in here.
_VERBS = (
    "top",
    "ls",
    "serve",
    "worker",
    "submit",
    "map",
    "status",
    "cancel",
    "list",
    "trace",
    "metrics",
    "doctor",
)
_TAKEN = ("list", "map")  # words of Python: their modules and functions have an underscore behind
_STATUSES: tuple[tuple[type[Exception], int], ...] = ((ConfigError, WRONG_CALL), (AttachError, WRONG_CALL))


class Refusal(click.ClickException):
    """An error as the user of a command line sees it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(" ".join(str(error).split()) or type(error).__name__)
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), UNHEALTHY)
        self.exit_code = status  # type: ignore[misc]  # click has one for each class, and reads it from the instance

    def show(self, file: object = None) -> None:
        click.echo(f"localq: {self.message}", err=True)


class Verbs(click.Group):
    """Finds verbs by name, and turns errors into refusals."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        name = f"{cmd_name}_" if cmd_name in _TAKEN else cmd_name
        command: click.Command = getattr(import_module(f"localq.cli.{name}"), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has seen enough; click ends quietly
            raise
        except (LocalqError, OSError) as error:
            raise Refusal(error) from error


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LOCALQ"})
@click.version_option(__version__, prog_name="localq")
def localq() -> None:
    """Run Python functions in parallel on this machine, and look after the queues that do."""


def main() -> None:
    """The program `localq`."""
    localq(prog_name="localq")
