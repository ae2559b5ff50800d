# SPDX-License-Identifier: MIT
"""`localq map`: run a Python function over lines, in parallel: what xargs and GNU parallel do for programs."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from localq.cli import INTERRUPTED, QUEUE, UNHEALTHY, WRONG_CALL, Refusal, Seconds
from localq.cli.printer import Printer, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from localq.client.lines import LineResults
    from localq.client.queue import LocalQueue
    from localq.monitor.progress import MapProgress
    from localq.pool.lines import LineCall

__all__ = ["map_"]

BROKEN_PIPE = 141  # what shells say of a program that SIGPIPE ended
MAX_RETRIES = 15  # of a task, after it took too long or its worker died; what raises is called again by the worker

_EXAMPLES = """\b
Examples:
  ls *.jpg | localq map thumbs:make             thumbs.make("a.jpg"), ...
  localq map thumbs:make *.jpg                  the same, without ls
  find . -name '*.py' -print0 | localq map -0 loc:count --unordered
  localq map -m zlib -e 'zlib.crc32(line.encode())' < words
  localq map --json -e 'line["price"] * 2' < orders.jsonl
  echo '[2, 10]' | localq map --star math:pow   math.pow(2, 10)
  localq map fetch:page -a urls --retries 3 --timeout 20 --input-in-output
  tail -f log | localq map alerts:check --attach service

\b
What the function prints goes to stderr. Failures do, too, each in a line, and
at the end a summary: "1,000 items, 3 failed, 12.1 s, 82/s".

\b
Exit status: 0 all went well; 1 some items failed; 2 wrong usage, or the
function can't be found; 130 interrupted; 141 nobody reads the output any
more.
"""


@click.command("map", epilog=_EXAMPLES)
@click.argument("function", required=False, metavar="[FUNCTION]")
@click.argument("items", nargs=-1, metavar="[ITEM]...", type=click.Path())  # for shells: any text is one
@click.option("-e", "--expression", metavar="PYTHON", help="Instead of FUNCTION: an expression of `line`.")
@click.option("-m", "--module", "modules", multiple=True, metavar="MODULE", help="Import it for the expression.")
@click.option(
    "-a",
    "--arg-file",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Read items from a file; - is stdin.",
)
@click.option("-0", "--null", "is_null", is_flag=True, help="Items end with a null byte, not with their line.")
@click.option("--json", "reads_json", is_flag=True, help="Items are JSON values; blank lines are left out.")
@click.option("--star", "is_star", is_flag=True, help="Items are JSON arrays, of the arguments.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Take the first N items.")
@click.option("--output", type=click.Choice(["json", "text"]), default="json", show_default=True, help="Of each value.")
@click.option("--repr", "with_repr", is_flag=True, help="Print the repr of what JSON can't carry.")
@click.option("--input-in-output", is_flag=True, help='Print {"item":..., "value" or "error":...}.')
@click.option("--unordered", is_flag=True, help="Print results as they come.")
@click.option("--fail-fast/--keep-going", help="Stop at the first failure; or go on (the default).")
@click.option("--traceback", "with_traceback", is_flag=True, help="Print where in the function each failure was.")
@click.option("--workers", type=int, metavar="N", help="Worker processes; all usable processors unless given.")
@click.option("--attach", "attached", type=QUEUE, help="Use the workers of a running queue.")
@click.option("--timeout", type=float, metavar="SECONDS", help="That one item may take.")
@click.option("--retries", type=click.IntRange(0, 1000), metavar="N", help="Try a failed item again so many times.")
@click.option("--retry-delay", type=Seconds(min=0), metavar="SECONDS", help="Before the first time; doubles.")
@click.option("--chunksize", type=click.IntRange(min=1), metavar="N", help="Items sent together; else by run time.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and no summary.")
def map_(
    function: str | None,
    items: tuple[str, ...],
    expression: str | None,
    modules: tuple[str, ...],
    files: tuple[str, ...],
    is_null: bool,
    reads_json: bool,
    is_star: bool,
    limit: int | None,
    output: str,
    with_repr: bool,
    input_in_output: bool,
    unordered: bool,
    fail_fast: bool,
    with_traceback: bool,
    workers: int | None,
    attached: str | None,
    timeout: float | None,
    retries: int | None,
    retry_delay: float | None,
    chunksize: int | None,
    quiet: bool,
) -> None:
    """Run FUNCTION over lines of stdin, or over ITEMs, in parallel; print each result as a line of JSON, in order.

    FUNCTION is module:function; the current directory is on the path. Items are text unless --json or --star is given.
    They are read as they are needed, so there may be no end of them.
    """
    if expression is not None and function is not None:
        items, function = (function, *items), None
    if function is None and expression is None:
        raise click.UsageError("a FUNCTION is needed, as module:function, or an --expression")
    if modules and expression is None:
        raise click.UsageError("--module is for an --expression; a function has imported what it needs")
    if is_star and expression is not None:
        raise click.UsageError("--star needs a function: an expression has one argument, `line`")
    if items and files:
        raise click.UsageError("items are arguments, or come from --arg-file")
    if workers is not None and attached is not None:
        raise click.UsageError("--workers is for a queue of its own; one that is attached to has workers")
    if input_in_output and output == "text":
        raise click.UsageError("--input-in-output is JSON: leave --output text out")

    from localq.pool.lines import LineCall

    call = LineCall(
        function,
        expression,
        modules,
        reads_json=reads_json or is_star,
        is_star=is_star,
        writes_json=output == "json",
        shows_item=input_in_output,
        with_repr=with_repr,
    )
    blocks = _blocks(items, files, b"\0" if is_null else b"\n", call.reads_json, limit)
    total = min(len(items), len(items) if limit is None else limit) if items else None
    out = _own_stdout()
    _put_here_on_path()
    _set_retries(call, retries, retry_delay)
    options: dict[str, Any] = {
        "timeout": timeout,
        "max_retries": None if retries is None else min(retries, MAX_RETRIES),
    }
    if attached is None:
        options = _options_of(_found(call), call, options)
    elif expression is not None:
        _check_expression(expression)
    name = f"expression {expression}" if function is None else function
    progress = _progress(total, name[:40], out, quiet)
    began = time.monotonic()

    def map_in(queue: LocalQueue) -> LineResults:
        from localq.client.lines import map_lines

        if retries is None:
            call.retries = call.retries or queue.config.max_retries
        return map_lines(
            queue.options(**options),
            call,
            blocks,
            total=total,
            chunksize=chunksize,
            ordered=not unordered,
            progress=progress,
        )

    printer = Printer(call, out, fail_fast, with_traceback)
    status = _run(_open(attached, workers), map_in, printer)
    if not quiet and status != BROKEN_PIPE:
        say(printer.summary(time.monotonic() - began))
    click.get_current_context().exit(status)


def _blocks(
    items: tuple[str, ...], files: tuple[str, ...], separator: bytes, skips_blank: bool, limit: int | None
) -> Iterator[list[bytes]]:
    from localq.cli.items import at_most, blocks_of_files, without_blank

    if not items and "-" in (files or "-") and sys.stdin is None:  # its number may be any file's by now
        raise Refusal("stdin is closed: there are no items to be read from it", WRONG_CALL)
    for path in files:
        if path != "-" and not os.access(path, os.R_OK):
            raise click.UsageError(f"the file of items {path!r} can't be read")
    blocks = iter([[os.fsencode(item) for item in items]]) if items else blocks_of_files(files or ("-",), separator)
    if skips_blank:
        blocks = without_blank(blocks)
    return blocks if limit is None else at_most(blocks, limit)


def _own_stdout() -> int:
    """Where the results go. Whatever else is written to stdout, by the function or a program that it runs, goes to
    stderr from now on: nothing gets between the results."""
    import fcntl

    try:
        out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)  # not one of the first three, also where those are closed
    except OSError:
        raise Refusal("stdout is closed: there is nowhere to print results to", WRONG_CALL) from None
    try:
        os.dup2(2, 1)
    except OSError:  # there is no stderr
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return out


def _put_here_on_path() -> None:
    """So that modules of the current directory are found, here and by workers of one's own."""
    try:
        here = os.getcwd()
    except OSError:  # it was removed: there is nothing to be found in it
        return
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _check_expression(expression: str) -> None:
    try:
        compile(expression.strip(), "<expression>", "eval")
    except (SyntaxError, ValueError) as error:  # the latter for null bytes
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise Refusal(f"the expression is no Python expression: {reason}: {expression!r}", WRONG_CALL) from None


def _found(call: LineCall) -> object:
    """The function. Here for the sake of whoever has mistyped it: the workers find it by themselves."""
    if call.function is not None and ":" not in call.function:
        raise Refusal(f"FUNCTION must be module:function; got {call.function!r}", WRONG_CALL)
    if call.expression is not None:
        _check_expression(call.expression)
    from localq.errors import FunctionNotFound

    try:
        return call.find()
    except FunctionNotFound as error:
        raise Refusal(error, WRONG_CALL) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything
        what = "a --module" if call.function is None else f"the module of {call.function}"
        raise Refusal(f"{what} can't be imported: {type(error).__qualname__}: {error}", WRONG_CALL) from None


def _set_retries(call: LineCall, retries: int | None, delay: float | None) -> None:
    from localq.retry import check_retry

    call.retries = retries or 0
    call.retry = check_retry(None, delay)


def _options_of(function: object, call: LineCall, given: dict[str, Any]) -> dict[str, Any]:
    """Those of a @task count where none are given here."""
    from localq.tasks import Task

    if not isinstance(function, Task):
        return given
    if given["max_retries"] is None:
        call.retries = function.max_retries or 0
    call.retry = call.retry or function.retry
    own = {"timeout": function.timeout, "max_retries": function.max_retries, "max_crashes": function.max_crashes}
    return own | {name: value for name, value in given.items() if value is not None}


def _progress(total: int | None, name: str, out: int, quiet: bool) -> MapProgress | None:
    """A bar, on stderr, unless the results appear on the terminal, too."""
    if quiet or os.isatty(out) or sys.stderr is None or not sys.stderr.isatty():
        return None
    from localq.monitor.progress import MapProgress

    return MapProgress(total, name)


def _open(attached: str | None, workers: int | None) -> LocalQueue:
    from localq.client.queue import LocalQueue

    if attached is None:  # lines are bytes, whatever LOCALQ_SERIALIZATION says
        own: dict[str, Any] = {} if workers is None else {"workers": workers}
        return LocalQueue(serialization="msgpack", **own)
    queue = LocalQueue.attach(attached)
    if queue.config.serialization == "json":
        queue.close(timeout=0)
        raise Refusal(f"queue {attached!r} has serialization='json', by which lines can't travel as bytes", WRONG_CALL)
    return queue


def _run(queue: LocalQueue, map_in: Callable[[LocalQueue], LineResults], printer: Printer) -> int:
    """The exit status."""
    import asyncio

    try:
        asyncio.run(printer.print_all(map_in(queue)))
        queue.close(cancel_pending=printer.has_stopped)
    except KeyboardInterrupt:
        queue.close(cancel_pending=True, timeout=0)
        return INTERRUPTED
    except BrokenPipeError:
        queue.close(cancel_pending=True, timeout=0)
        return BROKEN_PIPE
    except BaseException:
        queue.close(cancel_pending=True, timeout=0)
        raise
    return UNHEALTHY if printer.failed else 0
