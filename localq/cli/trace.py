# SPDX-License-Identifier: MIT
"""`localq trace`: what becomes of every task of a queue for a while, as a file for Perfetto and in words.

Asks `LocalQueue.trace`. Knows nothing of memory, processes or files.
"""

from __future__ import annotations

import signal

import click

from localq.cli import QUEUE, Seconds

__all__ = ["trace"]

_EXAMPLES = """\b
Examples:
  localq trace thumbnails                           5 seconds, into localq-thumbnails.json
  localq trace thumbnails --seconds 30 -o run.json
  localq trace thumbnails --json | jq .advice

\b
Open the file at https://ui.perfetto.dev (it stays on your machine) or chrome://tracing.

\b
Exit status: 0 done, also when Ctrl-C or SIGTERM cut it short; 1 the file can't be written;
2 wrong usage, or no queue of that name.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("name", type=QUEUE)
@click.option(
    "--seconds",
    type=Seconds(min=0.0, min_open=True, max=86400.0),
    default=5.0,
    show_default=True,
    help="How long to record.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where the trace goes.  [default: localq-NAME.json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document, for programs.")
@click.option(
    "--timeout",
    type=Seconds(min=0.0, min_open=True, max=3600.0),
    default=5.0,
    show_default=True,
    help="Seconds that the queue has to answer.",
)
def trace(name: str, seconds: float, output: str | None, as_json: bool, timeout: float) -> None:
    """Record wait, transfer, run and return of every task of queue NAME for a while, and say where the time went.

    The queue goes on meanwhile; recording costs it a little for each task. Where tasks are so short that their records
    come faster than they can be read, some are left out, and it says how many.
    """
    from localq.client.queue import LocalQueue

    with LocalQueue.attach(name, timeout=timeout) as queue:
        made = queue.trace(output or f"localq-{name}.json")
        previous = {
            number: signal.signal(number, lambda number, frame: made.stop())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            summary = made.record(seconds)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(summary).decode())
    else:
        from localq.monitor.spent_view import lines

        click.echo("\n".join(lines(summary)))
