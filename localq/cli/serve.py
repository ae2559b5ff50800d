# SPDX-License-Identifier: MIT
"""`localq serve`: a queue in the foreground, for whoever attaches.

The options are those of `LocalQueue`, from one table. What serving is, is in `localq.client.service`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from localq.cli import UNHEALTHY

__all__ = ["serve"]

_EPILOG = """\b
Examples:
  localq serve --name mail
  localq serve --name mail --workers 4 --queues bulk,urgent --task-modules app.tasks
  kill -HUP PID                       take up changed task modules
  LOCALQ_NAME=mail LOCALQ_WORKERS=4 localq serve

\b
In a systemd unit (Type=notify):
  ExecStart=/path/to/localq serve --name mail --task-modules app.tasks
  ExecReload=kill -HUP $MAINPID

\b
Each option is also LOCALQ_SERVE_... and LOCALQ_... in the environment.
SIGTERM and Ctrl-C drain; a second one ends at once. SIGHUP reloads.

\b
Exit status: 0 drained; 1 workers can't start, or tasks had to be ended
after --drain-timeout; 2 wrong usage, or the name is taken.
"""


class _Names(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in later versions only
    """Names, separated by commas."""

    name = "names"

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return "A,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


class _OrNone(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in later versions only
    """A value, or the word "none"."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.name = f"{inner.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NONE if value == NONE or str(value).lower() == "none" else self._inner.convert(value, param, ctx)


class _Function(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in later versions only
    """module:function, imported where it is used."""

    name = "module:function"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        module, _, function = str(value).partition(":")
        if not module or not function:
            self.fail(f"{value!r} is not module:function", param, ctx)
        return str(value)


NONE = "none"  # as a value: what is not given is left to LocalQueue

#: Option, type and what it says: arguments of LocalQueue, in the order of the help.
_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("workers", click.IntRange(min=1), "Worker processes.  [default: the usable processors]"),
    ("queues", _Names(), "Its queues; the first is the default one.  [default: default]"),
    ("task_modules", _Names(), "Modules that each worker imports; reloaded by SIGHUP."),
    ("preload", _Names(), "Modules imported once, before workers are started; never reloaded."),
    ("capacity", click.IntRange(min=1), "Tasks that may be on their way at once.  [default: 65536]"),
    ("memory", click.STRING, 'For large arguments and results: "2GiB".  [default: half of what there is]'),
    ("result_cache_size", click.IntRange(min=0), "Results kept by id.  [default: 10000]"),
    ("result_ttl", _OrNone(click.FLOAT), "Seconds that each is kept.  [default: 3600]"),
    ("max_retries", click.IntRange(min=0), "Runs more after a task raised.  [default: 0]"),
    ("max_crashes", _OrNone(click.INT), "Runs more after its worker died.  [default: as --max-retries]"),
    ("task_timeout", _OrNone(click.FLOAT), "Seconds that a run may last.  [default: no limit]"),
    ("grace_period", click.FloatRange(min=0), "Seconds for a task's own ending when it is stopped.  [default: 2]"),
    ("concurrency", click.IntRange(min=1), "Async tasks of one worker at a time.  [default: 1]"),
    ("max_tasks_per_child", _OrNone(click.INT), "Replace a worker after so many tasks."),
    ("max_memory_per_child", _OrNone(click.STRING), "Replace a worker that has grown beyond that."),
    ("threads_per_worker", _OrNone(click.INT), "Threads of numeric libraries.  [default: 1]"),
    ("drain_timeout", click.FloatRange(min=0), "Seconds that tasks have to end at SIGTERM.  [default: 5]"),
    ("serialization", click.Choice(("msgpack", "pickle", "json")), "How values travel.  [default: msgpack]"),
    ("arguments", click.Choice(("copy-on-write", "readonly", "shared")), "How tasks see arrays."),
    ("results", click.Choice(("views", "copies")), "What arrays in results are."),
    ("output", click.Choice(("prefix", "plain", "off", "inherit")), "What becomes of what tasks print."),
    ("initializer", _Function(), "Called in each worker before its first task."),
)


def _with_options(command: Any) -> Any:
    for name, kind, text in reversed(_OPTIONS):
        variables = [f"LOCALQ_SERVE_{name.upper()}", f"LOCALQ_{name.upper()}"]
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, envvar=variables, help=text)(command)
    return command


@click.command(epilog=_EPILOG)
@click.option("--name", required=True, envvar=["LOCALQ_SERVE_NAME", "LOCALQ_NAME"], help="By which others attach.")
@_with_options
@click.pass_context
def serve(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Run a queue in the foreground, until it is told to end.

    Tasks come from whoever attaches: LocalQueue.attach(NAME), `localq submit NAME ...`. Modules are looked for in the
    current directory, too.
    """
    from localq import LocalQueue
    from localq.client.service import Init, Service, Signals
    from localq.errors import InitializerFailed, LocalqError

    options: dict[str, Any] = {
        option: None if value == NONE else value for option, value in given.items() if value is not None
    }
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if "initializer" in options:
        options["initializer"] = _function(options["initializer"])
    with Signals() as signals:
        init = Init()
        queue = LocalQueue(name=name, **options)
        try:
            is_done = Service(queue, signals, init, _say).run()
        except LocalqError as error:
            init.tell(STATUS=str(error).splitlines()[0], ERRNO=5)
            if isinstance(error, InitializerFailed):
                click.echo(error.traceback.rstrip(), err=True)
                _say(f"queue {name} is broken: {str(error).splitlines()[0].rstrip(':')}")
                ctx.exit(UNHEALTHY)
            raise
    ctx.exit(0 if is_done else UNHEALTHY)


def _say(what: str) -> None:
    try:
        click.echo(f"localq: {what}", err=True)
    except OSError:  # nobody reads it any more
        pass


def _function(reference: str) -> Any:
    """Named here, so that what is wrong with it is said before anything starts."""
    from localq.errors import ConfigError
    from localq.lookup import KIND_REFERENCE, decode_function

    try:
        return decode_function(KIND_REFERENCE, reference.encode())
    except Exception as error:
        raise ConfigError(f"initializer {reference!r} can't be used: {error}") from error
