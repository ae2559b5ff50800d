# SPDX-License-Identifier: MIT
"""`localq ls`: the running queues of this user."""

from __future__ import annotations

import click

from localq.cli import Seconds

__all__ = ["ls"]

_EPILOG = """\b
Examples:
  localq ls
  localq ls | cut -f1                      their names
  localq ls --json | jq '.queues[].queued'

\b
WORKERS is ready/wanted; QUEUED counts tasks whose time has not come, too.
A queue is "silent" when its supervisor does not answer in time, "stale"
when its owner was killed, "foreign" when it is of another version.

\b
Exit status: 0, also when there is none; 2 wrong usage.
"""


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@click.option(
    "--timeout",
    type=Seconds(min=0.0, min_open=True, max=3600.0),
    default=1.0,
    show_default=True,
    help="Seconds that each queue has to answer; all are asked at once.",
)
def ls(as_json: bool, timeout: float) -> None:
    """List the running queues of yours: owner, uptime, workers, how much is queued."""
    from localq.addresses import runtime_dir
    from localq.monitor.overview import lines_of_queues

    lines = lines_of_queues(timeout)
    if as_json:
        import json

        import msgspec

        click.echo(json.dumps({"runtime_dir": runtime_dir(), "queues": msgspec.to_builtins(lines)}, indent=2))
    else:
        from localq.monitor.overview_view import show_queues

        show_queues(lines, runtime_dir())
