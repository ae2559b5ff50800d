# SPDX-License-Identifier: MIT
"""`localq worker`: more workers for a queue that runs elsewhere, as long as this command runs."""

from __future__ import annotations

import click

from localq.cli import QUEUE, UNHEALTHY

__all__ = ["worker"]

_EPILOG = """\b
Examples:
  localq worker --attach mail              one more, until Ctrl-C
  timeout 1h localq worker --attach mail --workers 8

\b
Exit status: 0 they were taken away again; 1 the queue ended before;
2 wrong usage, no such queue, or no room for so many.
"""


@click.command(epilog=_EPILOG)
@click.option("--attach", "name", type=QUEUE, required=True, metavar="NAME", help="The queue that is to have them.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@click.pass_context
def worker(ctx: click.Context, name: str, workers: int) -> None:
    """Add workers to a running queue, and take them away at Ctrl-C, SIGTERM, or whenever this command ends.

    They are processes of that queue, with its memory, modules and limits; only their number is decided here. Who has a
    task in hand finishes it before it goes.
    """
    import signal

    from localq.pool.control import lease

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    what = f"{workers} {'worker' if workers == 1 else 'workers'}"
    try:
        with lease(name, workers) as held:
            click.echo(
                f"localq: {what} added to queue {name}, which has {held.workers} now; Ctrl-C takes them away", err=True
            )
            held.wait()
            ended = held.ended
    except KeyboardInterrupt:
        click.echo(f"localq: {what} taken away from queue {name}", err=True)
        ctx.exit(0)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(f"localq: the queue ended: {ended}", err=True)
    ctx.exit(UNHEALTHY)
