# SPDX-License-Identifier: MIT
"""`localq submit`: have a running queue run one task.

The function is not imported here: its name goes to the workers, who have the queue's own path.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from localq.cli import INTERRUPTED, NOT_DONE, QUEUE, WRONG_CALL, Refusal, Seconds
from localq.json_text import as_json, from_argument, from_json

if TYPE_CHECKING:
    from localq.client.future import TaskFuture
    from localq.client.queue import LocalQueue

__all__ = ["submit"]

_EXAMPLES = """\b
Examples:
  localq submit mail tasks:send anna 3 --kw urgent=true
  localq submit mail send-mail --text 007       a registered task, by its name
  localq submit mail statistics:mean '[1, 2, 6]' --wait         prints 3
  jq -c .rows big.json | localq submit mail tasks:load --json-args -
  localq submit mail tasks:add -- -1 2       what begins with a dash comes last
  id=$(localq submit mail tasks:report) && localq status $id --follow

\b
Exit status: 0 submitted (with --wait: it returned); 1 it failed or was
cancelled; 2 wrong usage, or no such queue; 3 not done within --wait-timeout;
130 interrupted.
"""


def _complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from localq.errors import LocalqError
    from localq.pool.control import ask

    try:
        tasks = ask(ctx.params["name"], {"do": "tasks"}, timeout=1.0)["tasks"]
    except (LocalqError, OSError, KeyError):
        return []
    return [CompletionItem(each["name"], help=each.get("doc")) for each in tasks if each["name"].startswith(incomplete)]


@click.command(epilog=_EXAMPLES)
@click.argument("name", type=QUEUE)
@click.argument("function", shell_complete=_complete_task)
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT]...")
@click.option("--kw", "keywords", multiple=True, metavar="NAME=VALUE", help="A keyword argument; may be repeated.")
@click.option("--text", "as_text", is_flag=True, help="Take arguments as text, also where they could be JSON.")
@click.option("--json-args", metavar="ARRAY", help="All arguments as one JSON array; - reads it from stdin.")
@click.option("--json-kwargs", metavar="OBJECT", help="All keyword arguments as one JSON object; - as above.")
@click.option("--priority", type=click.Choice(["critical", "high", "normal", "low"]), help="How urgent it is.")
@click.option("--queue", metavar="QUEUE", help="One of the queue's queues; its first unless given.")
@click.option("--timeout", type=float, metavar="SECONDS", help="That one run of the task may last.")
@click.option("--max-retries", type=int, metavar="N", help="Run it again so many times after it raised.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Do not start it before.")
@click.option("--ttl", type=float, metavar="SECONDS", help="Drop it, if it has not started by then.")
@click.option("--wait", is_flag=True, help="Wait for it, and print its result as JSON.")
@click.option("--wait-timeout", type=Seconds(min=0), metavar="SECONDS", help="Wait so long at most.")
@click.option("--cancel-on-interrupt", is_flag=True, help="Ctrl-C while waiting cancels the task. Else it goes on.")
@click.option("--repr", "with_repr", is_flag=True, help="Print the repr of values that JSON can't carry.")
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document, for programs.")
def submit(
    name: str,
    function: str,
    arguments: tuple[str, ...],
    keywords: tuple[str, ...],
    as_text: bool,
    json_args: str | None,
    json_kwargs: str | None,
    wait: bool,
    wait_timeout: float | None,
    cancel_on_interrupt: bool,
    with_repr: bool,
    as_document: bool,
    **options: Any,
) -> None:
    """Submit a task to the queue NAME, and print its id.

    FUNCTION is the name of a registered task (see `localq list`), or module:function. It need not be importable here,
    but by the workers. ARGUMENTs are JSON where they can be, and text otherwise. The task lives on when this command
    has ended; its result is kept until the queue drops it (result_cache_size, result_ttl).
    """
    args, kwargs = _arguments(arguments, keywords, as_text, json_args, json_kwargs)
    if function.startswith(":") or function.endswith(":"):
        raise click.UsageError(f"FUNCTION must be the name of a task, or module:function; got {function!r}")
    from localq.client.queue import LocalQueue

    queue = LocalQueue.attach(name)
    try:
        future = queue.options(**options).delay(function, *args, **kwargs)
        if future.task_id is None:  # it can't be sent: the future knows why
            raise Refusal(str(future.exception()), WRONG_CALL)
        if wait or wait_timeout is not None:
            status = _wait(queue, future, wait_timeout, cancel_on_interrupt, with_repr, as_document)
        else:
            document = as_json({"task_id": future.task_id, "queue": name}).decode()
            click.echo(document if as_document else future.task_id)
            status = 0
    finally:
        queue.close(timeout=0)
    click.get_current_context().exit(status)


def _arguments(
    arguments: tuple[str, ...], keywords: tuple[str, ...], as_text: bool, json_args: str | None, json_kwargs: str | None
) -> tuple[list[Any], dict[str, Any]]:
    if json_args == "-" and json_kwargs == "-":
        raise click.UsageError("only one of --json-args and --json-kwargs can be read from stdin")
    if arguments and json_args is not None:
        raise click.UsageError("arguments are given one by one, or all at once by --json-args")
    read = str if as_text else from_argument
    args = [read(argument) for argument in arguments]
    if json_args is not None:
        args = _parsed("--json-args", json_args, list)
    kwargs = {} if json_kwargs is None else _parsed("--json-kwargs", json_kwargs, dict)
    for keyword in keywords:
        key, is_there, value = keyword.partition("=")
        if not is_there or not key.isidentifier():
            raise click.UsageError(f"--kw must be name=value; got {keyword!r}")
        if key in kwargs:
            raise click.UsageError(f"keyword argument {key!r} is given twice")
        kwargs[key] = read(value)
    return args, kwargs


def _parsed(option: str, text: str, kind: type) -> Any:
    word = "array" if kind is list else "object"
    try:
        value = from_json(sys.stdin.buffer.read() if text == "-" else text)
    except ValueError as error:
        raise click.UsageError(f"{option} must be a JSON {word}: {error}") from None
    if not isinstance(value, kind):
        raise click.UsageError(f"{option} must be a JSON {word}; got {type(value).__name__}")
    return value


def _wait(
    queue: LocalQueue,
    future: TaskFuture[Any],
    timeout: float | None,
    cancels: bool,
    with_repr: bool,
    as_document: bool,
) -> int:
    """The exit status."""
    from localq.cli import outcome
    from localq.client.reading import result_of
    from localq.errors import TaskCancelled, TaskTimeout

    task_id = future.task_id
    try:
        try:
            error = future.exception(timeout)
        except TaskCancelled as cancelled:
            error = cancelled
    except KeyboardInterrupt:
        if cancels:
            future.cancel()
            click.echo(f"localq: task {task_id} was cancelled", err=True)
        else:
            click.echo(f"localq: task {task_id} goes on; `localq cancel {task_id}` ends it", err=True)
        return INTERRUPTED
    except TimeoutError as late:
        if isinstance(late, TaskTimeout):
            raise
        click.echo(f"localq: task {task_id} is not done within {timeout:g} s, and goes on", err=True)
        return NOT_DONE
    result = result_of(future, error)
    if as_document:
        click.echo(as_json(outcome.as_document(result, queue.name, with_repr)).decode())
    elif error is None:
        try:
            click.echo(as_json(result.value, with_repr).decode())
        except TypeError as refused:
            raise Refusal(f"task {task_id} has succeeded, but {refused}; --repr prints it all the same") from None
    else:
        click.echo(f"localq: task {task_id} {result.status}: {outcome.describe_error(error)}", err=True)
        if traceback := outcome.traceback_of(error):
            click.echo(traceback.rstrip(), err=True)
    return outcome.exit_status(result.status)
