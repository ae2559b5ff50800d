# SPDX-License-Identifier: MIT
"""`localq list`: the tasks that running queues can run by name."""

from __future__ import annotations

import click

from localq.cli import QUEUE, UNHEALTHY, Seconds

__all__ = ["list_"]

_EPILOG = """\b
Examples:
  localq list                              of all queues that are running
  localq list mail
  localq list mail --json | jq -r '.queues.mail[].name'

\b
Exit status: 0, also when there is none; 1 a queue did not answer, and the
others are listed; 2 wrong usage, or the one that was asked for is not there.
"""


@click.command("list", epilog=_EPILOG)
@click.argument("name", type=QUEUE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@click.option(
    "--timeout",
    type=Seconds(min=0.0, min_open=True, max=3600.0),
    default=5.0,
    show_default=True,
    help="Seconds that each queue has to answer.",
)
@click.pass_context
def list_(ctx: click.Context, name: str | None, as_json: bool, timeout: float) -> None:
    """List the tasks that a running queue can run by name: what its task modules have registered with @task.

    Functions that are not registered can be submitted as module:function.
    """
    from localq.monitor.overview import tasks_of_queue, tasks_of_queues

    found, problems = ({name: tasks_of_queue(name, timeout)}, []) if name else tasks_of_queues(timeout)
    if as_json:
        import json

        import msgspec

        click.echo(json.dumps({"queues": msgspec.to_builtins(found)}, indent=2))
    else:
        from localq.monitor.overview_view import show_tasks

        show_tasks(found)
    for problem in problems:
        click.echo(f"localq: {problem}", err=True)
    ctx.exit(UNHEALTHY if problems else 0)
