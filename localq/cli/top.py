# SPDX-License-Identifier: MIT
"""`localq top`: watch running queues.

Hands `localq.monitor.top` what reaches queues: readers, the supervisor's ear, and a client for cancelling.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click

from localq.cli import Seconds

if TYPE_CHECKING:
    from typing import Any

__all__ = ["top"]

_EXAMPLES = """\b
Examples:
  localq top                          all queues of yours; n shows the next one
  localq top thumbnails               that one; it may end and come back
  localq top --interval 0.25          look four times a second
  localq top --once                   print how it is, and end
  localq top --once --json | jq '.[0].problems'
  localq top thumbnails --svg top.svg a picture

\b
Keys: q quits, ? tells the others.
NO_COLOR is heeded. A display that is watched or killed costs the queue nothing.

\b
Exit status: 0; 2 wrong usage, no queue of that name, or none is running.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--interval",
    type=Seconds(0.1, 60.0),
    default=1.0,
    show_default=True,
    help="Seconds between two looks; + and - change it.",
)
@click.option(
    "--once", is_flag=True, help="Print one reading, as wide as the terminal (in a pipe: 100 columns), and end."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one reading as JSON, a list with one Snapshot a queue, and end."
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write one screen as a picture, and end.",
)
def top(names: tuple[str, ...], interval: float, once: bool, as_json: bool, svg: str | None) -> None:
    """Watch running queues: are they well, what are they doing, what is slow, what is wrong."""
    if svg is not None and (once or as_json):
        raise click.UsageError("--svg writes a picture, --once and --json print: choose one of them.")
    from localq.addresses import queue_names, runtime_dir
    from localq.errors import AttachError
    from localq.monitor.reader import open_reader

    chosen = tuple(dict.fromkeys(names))
    if not chosen and not _running():
        raise AttachError(
            f"no queue of yours is running (none answers in {runtime_dir()}). `localq serve --name NAME` starts one,"
            ' and so does LocalQueue(name="NAME") in a program'
        )
    if once or as_json or svg is not None:
        from localq.monitor.glance import as_json as in_json
        from localq.monitor.glance import glance, picture, show

        queues = glance(chosen or _running(), open_reader, must=bool(chosen))
        if as_json:
            click.echo(in_json(queues))
        elif svg is not None:
            picture(queues, svg)
        else:
            show(queues)
        return
    from localq.monitor.top import Hands, watch

    for name in chosen:  # a name that was misspelt is told at once
        open_reader(name).close()
    ended_by = watch(chosen, Hands(open_reader, queue_names, _ask, _cancel), interval)
    if ended_by in (signal.SIGTERM, signal.SIGHUP):  # whoever sent it sees that it was obeyed
        signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)


def _running() -> tuple[str, ...]:
    """The queues at whose sockets somebody listens."""
    from localq.addresses import address_of, queue_names
    from localq.pool.attach import listener_at

    return tuple(name for name in queue_names() if listener_at(address_of(name)) is not None)


def _ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
    from localq.pool.control import ask

    return ask(name, request)


def _cancel(name: str, task_id: str) -> bool:
    from localq import LocalQueue

    with LocalQueue.attach(name) as queue:
        return queue.cancel(task_id)
