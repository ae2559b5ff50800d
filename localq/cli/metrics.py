# SPDX-License-Identifier: MIT
"""`localq metrics`: the figures of queues for Prometheus and whoever reads its text format.

Asks `localq.monitor.exposition`. Knows nothing of memory, processes or sockets.
"""

from __future__ import annotations

import click

from localq.cli import QUEUE, Seconds

__all__ = ["metrics"]

_EXAMPLES = """\b
Examples:
  localq metrics                         all queues of yours, once
  localq metrics thumbnails              that one
  localq metrics --listen 9464           at http://127.0.0.1:9464/metrics
  localq metrics --listen 0.0.0.0:9464   for everybody who reaches this machine

\b
Exit status: 0 done, also after Ctrl-C or SIGTERM; 1 the port is taken;
2 wrong usage, or no queue of that name.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("name", type=QUEUE, required=False)
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    help="Answer GET /metrics over HTTP until Ctrl-C; without HOST only on this machine.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0.0, min_open=True, max=3600.0),
    default=2.0,
    show_default=True,
    help="Seconds that each queue has to answer.",
)
def metrics(name: str | None, listen: str | None, timeout: float) -> None:
    """Print figures of queues as Prometheus reads them: tasks, waits, runs, functions, workers, memory.

    Without NAME of all queues of yours. Reads only, beside whatever they are doing. With --listen queues may come and
    go; of one that was named `localq_up` is 0 while it is not there.
    """
    from localq.monitor.exposition import Exposition, MetricsServer, parse_address

    address = None if listen is None else parse_address(listen)
    exposition = Exposition(name, timeout)
    try:
        exposition.check()
        if address is None:
            click.echo(exposition.text(), nl=False)
        else:
            server = MetricsServer(exposition, *address)
            click.echo(f"Metrics are at {server.url}; Ctrl-C ends.", err=True)
            server.run()
    finally:
        exposition.close()
