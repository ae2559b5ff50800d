# SPDX-License-Identifier: MIT
"""`localq doctor`: are the queues of this user well?

Asks `localq.monitor.census`, and shows what it says. Knows nothing of memory, processes or sockets.
"""

from __future__ import annotations

import click

from localq import __version__
from localq.cli import QUEUE, UNHEALTHY, Seconds

__all__ = ["doctor"]

_EXAMPLES = """\b
Examples:
  localq doctor                       all queues of yours
  localq doctor thumbnails            that one
  localq doctor --clean               and remove what killed programs left
  localq doctor --json | jq .healthy

\b
Exit status: 0 all are healthy, or there is none; 1 an error was found;
2 wrong usage, or no queue of that name. Warnings do not count.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=QUEUE.shell_complete)
@click.option("--clean", is_flag=True, help="Remove sockets at which provably nobody listens any more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@click.option(
    "--timeout",
    type=Seconds(min=0.0, min_open=True, max=3600.0),
    default=2.0,
    show_default=True,
    help="Seconds that each queue has to answer (twice), and that an error is looked at before it is believed.",
)
@click.pass_context
def doctor(ctx: click.Context, names: tuple[str, ...], clean: bool, as_json: bool, timeout: float) -> None:
    """Examine running queues: every word of their shared memory, their processes, what is stuck, what was left behind.

    Reads only, beside whatever the queue is doing. What it says was found by each of several looks.
    """
    from localq.addresses import runtime_dir
    from localq.monitor.census import as_data, examine_all

    examined = examine_all(names, timeout, clean)
    if as_json:
        import json

        click.echo(json.dumps(as_data(examined, __version__), indent=2))
    else:
        from localq.monitor.census_view import show

        show(examined, runtime_dir())
    ctx.exit(0 if all(each.is_healthy for each in examined) else UNHEALTHY)
