# SPDX-License-Identifier: MIT
"""The command line. One file a verb, imported when it is used.

Here is what all verbs share: how they are found, and how an error becomes one line and an exit status. What a verb does
is decided on the floors below; a verb only asks for it and shows it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from localq import __version__
from localq.errors import AttachError, ConfigError, LocalqError, QueueClosed

__all__ = [
    "GONE",
    "INTERRUPTED",
    "NOT_DONE",
    "QUEUE",
    "UNHEALTHY",
    "WRONG_CALL",
    "Refusal",
    "Seconds",
    "localq",
    "main",
]

UNHEALTHY = 1  # what was asked for was done, and the answer is no
WRONG_CALL = 2  # it can't be done as asked: what click says of usage errors, too
NOT_DONE = 3  # the task still waits or runs
GONE = 4  # nothing is known of the task any more
INTERRUPTED = 130  # by Ctrl-C: what shells say of that

# In the order of the help, which shows these lines without importing a verb; each is the function of that name in the
# module of that name in here.
_VERBS = {
    "top": "Watch queues live.",
    "ls": "List the running queues.",
    "serve": "Run a queue in the foreground, as a service.",
    "worker": "Add workers to a running queue, as long as this runs.",
    "submit": "Submit a task; print its id, or wait for its result.",
    "map": "Run a function over lines, as xargs runs a program.",
    "status": "Show a task by its id, or a queue by its name.",
    "cancel": "Cancel tasks by their ids.",
    "list": "List the tasks that a queue can run.",
    "trace": "Record where the time goes, for Perfetto and Chrome.",
    "metrics": "Print, or serve, metrics for Prometheus.",
    "doctor": "Examine queues, and clean up after killed ones.",
    "completion": "Print the script that completes these commands.",
}
_TAKEN = ("list", "map")  # words of Python: their modules and functions have an underscore behind
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, WRONG_CALL),
    (AttachError, WRONG_CALL),
    (QueueClosed, WRONG_CALL),  # as one that is not there
)

_EPILOG = """\b
Examples:
  localq map json:loads < lines.json      a function over lines, in parallel
  localq serve --name mail --task-modules tasks
  localq submit mail tasks:send anna --kw urgent=true --wait
  localq top                              what all that is doing

\b
`localq VERB --help` has examples, and the exit statuses of each: 0 well; 1 it
was done, and the answer is no; 2 it can't be done as asked; 130 interrupted.
For completion: eval "$(localq completion bash)" in ~/.bashrc; also zsh, fish.

\b
LOCALQ_WORKERS, LOCALQ_MEMORY, ... are defaults for queues that are opened,
LOCALQ_SUBMIT_PRIORITY, LOCALQ_MAP_UNORDERED, ... for the options of a verb.
"""


class Refusal(click.ClickException):
    """An error as the user of a command line sees it."""

    def __init__(self, error: Exception | str, status: int | None = None) -> None:
        super().__init__(" ".join(str(error).split()) or type(error).__name__)
        if status is None:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), UNHEALTHY)
        self.exit_code = status  # type: ignore[misc]  # click has one for each class, and reads it from the instance

    def show(self, file: object = None) -> None:
        click.echo(f"localq: {self.message}", err=True)


if TYPE_CHECKING:
    _Name = click.ParamType[str]  # generic since click 8.2, and only for type checkers
else:
    _Name = click.ParamType


class QueueName(_Name):
    """The name of a running queue; shells complete it."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from localq.config import is_name

        if not is_name(value):
            self.fail(f"a queue's name has letters, digits, _ . and -; got {value!r}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from localq.addresses import queue_names

        return [CompletionItem(name) for name in queue_names() if name.startswith(incomplete)]


QUEUE = QueueName()


class Seconds(click.FloatRange):
    """A number of seconds. "nan" is none, though it is in every range for click."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(verb, help=line) for verb, line in _VERBS.items() if verb.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _VERBS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(_VERBS)}"
            raise Refusal(f"there is no command {args[0]!r}{hint}", WRONG_CALL)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has seen enough; click ends quietly
            raise
        except (LocalqError, OSError) as error:
            raise Refusal(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LOCALQ"},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="localq")
def localq() -> None:
    """Run Python functions in parallel on this machine, and look after the queues that do."""


def main() -> None:
    """The program `localq`."""
    localq(prog_name="localq")
