# SPDX-License-Identifier: MIT
"""`localq cancel`: end tasks by their ids, whoever submitted them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localq.cli import QUEUE, UNHEALTHY
from localq.json_text import as_json

if TYPE_CHECKING:
    from localq.client.queue import LocalQueue

__all__ = ["cancel"]

_EXAMPLES = """\b
Examples:
  localq cancel 2a0bcfee-1f-3
  localq cancel --queue mail $(cat ids)
  localq cancel --json 2a0bcfee-1f-3 | jq '.[0].cancelled'

\b
Exit status: 0 all were cancelled; 1 some were not, and it says why (done
already, not known); 2 wrong usage, or no running queue gave such an id.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("task_ids", nargs=-1, required=True, metavar="TASK_ID...")
@click.option("--queue", "name", type=QUEUE, help="The queue that they are of; else all are asked which it is.")
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document, for programs.")
def cancel(task_ids: tuple[str, ...], name: str | None, as_document: bool) -> None:
    """Cancel tasks. One that waits never runs; in one that runs TaskCancelled is raised, and if it does not end, its
    worker is ended after the queue's grace period."""
    from localq.client.finding import find_queue

    names = {task_id: find_queue(task_id, among=None if name is None else [name]) for task_id in task_ids}
    told: dict[str, dict[str, Any]] = {}
    for each in dict.fromkeys(names.values()):
        told |= _cancel_in(each, [task_id for task_id in task_ids if names[task_id] == each])
    if as_document:
        click.echo(as_json([told[task_id] for task_id in task_ids]).decode())
    else:
        for task_id in task_ids:
            facts = told[task_id]
            if facts["cancelled"]:
                click.echo(f"{task_id} cancelled")
            else:
                click.echo(f"localq: task {task_id} was not cancelled: {facts['reason']}", err=True)
    click.get_current_context().exit(0 if all(each["cancelled"] for each in told.values()) else UNHEALTHY)


def _cancel_in(name: str, task_ids: list[str]) -> dict[str, dict[str, Any]]:
    from localq.client.queue import LocalQueue

    queue = LocalQueue.attach(name)
    try:
        return {task_id: _cancel_one(queue, task_id) for task_id in task_ids}
    finally:
        queue.close(timeout=0)


def _cancel_one(queue: LocalQueue, task_id: str) -> dict[str, Any]:
    is_cancelled = queue.cancel(task_id)
    status = queue.get_status(task_id)
    reason = None
    if not is_cancelled:
        reason = "it is not known (any more)" if status is None else _REASONS.get(str(status), f"it is {status}")
    return {
        "task_id": task_id,
        "queue": queue.name,
        "cancelled": is_cancelled,
        "status": None if status is None else str(status),
        "reason": reason,
    }


_REASONS = {
    "success": "it has succeeded already",
    "failure": "it has failed already",
    "cancelled": "it was cancelled before",
    "evicted": "it is done, and its result was pushed out by newer ones",
    "expired": "it is done, and its result was kept no longer",
}
