# SPDX-License-Identifier: MIT
"""`localq status`: how one task is, by its id; or one queue, by its name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from localq.cli import GONE, QUEUE, UNHEALTHY
from localq.cli.outcome import as_document, exit_status, lines_of, moment, progress_text, seconds
from localq.json_text import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localq.client.queue import LocalQueue
    from localq.monitor.snapshot import Snapshot, Spread

__all__ = ["status"]

_EXAMPLES = """\b
Examples:
  localq status 2a0bcfee-1f-3                 one task
  localq status 2a0bcfee-1f-3 --follow        its progress, until it has ended
  localq status 2a0bcfee-1f-3 --json | jq .value
  localq status mail                          one queue

\b
Exit status of a task: 0 success; 1 it failed or was cancelled; 3 it waits or
runs (without --follow); 4 gone: its result was evicted, has expired, or
nothing is known of it any more; 2 wrong usage, or no running queue gave that
id. Of a queue: 0 it runs; 1 it is broken; 2 there is none of that name. 130
interrupted.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("what", type=QUEUE, metavar="TASK_ID|NAME")
@click.option("--follow", is_flag=True, help="Show each progress update, until the task has ended.")
@click.option("--queue", "name", type=QUEUE, help="The queue that the task is of; else all are asked which it is.")
@click.option("--repr", "with_repr", is_flag=True, help="With --json, the repr of what JSON can't carry.")
@click.option(
    "--json", "as_json_lines", is_flag=True, help="Print JSON, for programs; with --follow one line an update."
)
def status(what: str, follow: bool, name: str | None, with_repr: bool, as_json_lines: bool) -> None:
    """Show how a task is: its state, times, attempts, worker, progress, and what came of it. Or how a queue is."""
    from localq.addresses import queue_names
    from localq.client.finding import find_queue, is_task_id

    if not is_task_id(what) or (name is None and what in queue_names()):
        if follow or name is not None:
            raise click.UsageError(f"{what!r} is no task id, and only tasks can be followed or looked for in a queue")
        code = _show_queue(what, as_json_lines)
    else:
        code = _show_task(
            what, find_queue(what, among=None if name is None else [name]), follow, with_repr, as_json_lines
        )
    click.get_current_context().exit(code)


def _show_task(task_id: str, name: str, follow: bool, with_repr: bool, as_json_lines: bool) -> int:
    from localq.client.queue import LocalQueue

    queue = LocalQueue.attach(name)
    try:
        result = queue.get_task_result(task_id)
        if result is not None and follow:
            _follow(queue, task_id, as_json_lines)
            result = queue.get_task_result(task_id)
    finally:
        queue.close(timeout=0)
    if result is None:
        click.echo(f"localq: queue {name!r} knows nothing of task {task_id} (any more)", err=True)
        return GONE
    if as_json_lines:
        click.echo(as_json(as_document(result, name, with_repr)).decode())
        return exit_status(result.status)
    code = exit_status(result.status)
    if code == GONE:
        why = {
            "evicted": "its result was pushed out by newer ones: raise result_cache_size to keep more",
            "expired": "its result was kept no longer: raise result_ttl to keep results longer",
        }[str(result.status)]
        click.echo(f"localq: task {task_id} is gone: {why}", err=True)
    else:
        click.echo("\n".join(lines_of(result, name)))
    return code


def _follow(queue: LocalQueue, task_id: str, as_json_lines: bool) -> None:
    if as_json_lines:
        for update in queue.follow(task_id):
            told: dict[str, Any] = {
                "task_id": task_id,
                "status": str(update.status),
                "progress": update.progress,
                "message": update.message,
                "at": update.at,
            }
            click.echo(as_json(told).decode())
    elif sys.stderr is not None and sys.stderr.isatty():
        from localq.monitor.task_bar import TaskBar

        with TaskBar(task_id) as bar:
            for update in queue.follow(task_id):
                bar.show(str(update.status), update.progress, update.message)
    else:
        import time

        for update in queue.follow(task_id):
            clock = time.strftime("%H:%M:%S", time.localtime(update.at))
            click.echo(f"{clock} {update.status} {progress_text(update.progress, update.message)}".rstrip())


def _show_queue(name: str, as_json_document: bool) -> int:
    from localq.monitor.reader import open_reader

    with open_reader(name) as reader:
        snapshot = reader.read()
    if as_json_document:
        import msgspec

        click.echo(msgspec.json.encode(snapshot).decode())
    else:
        click.echo("\n".join(f"{label:<9} {text}".rstrip() for label, text in _lines_of_queue(snapshot)))
    return UNHEALTHY if snapshot.queue.phase == "broken" else 0


def _lines_of_queue(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    facts, totals, results, arena = snapshot.queue, snapshot.totals, snapshot.results, snapshot.arena
    yield "queue", f"{facts.name} ({facts.phase})"
    yield "owner", f"{facts.owner_pid} {facts.command}"
    yield "started", f"{moment(facts.started_at)}, on Python {facts.python}, localq {facts.version}"
    busy = sum(worker.state == "running" for worker in snapshot.workers)
    yield "workers", f"{facts.workers}, of which {len(snapshot.workers)} live and {busy} run tasks"
    yield "tasks", f"{snapshot.queued:,} wait, {snapshot.delayed:,} for a time, {snapshot.running:,} run"
    if len(snapshot.depths) > 1 or snapshot.queued:
        for each in snapshot.depths:
            by_priority = ("critical", each.critical), ("high", each.high), ("normal", each.normal), ("low", each.low)
            shown = ", ".join(f"{count:,} {word}" for word, count in by_priority if count)
            yield "", f"{each.queue}: {shown or 'none'}"
    yield (
        "done",
        f"{totals.done:,}; {totals.failed:,} failed, {totals.retried:,} tried again, {totals.cancelled:,} cancelled",
    )
    yield "wait", _spread(snapshot.wait)
    yield "run", _spread(snapshot.run)
    yield "results", f"{results.kept:,} kept of {results.room:,} at most, {results.unread:,} not picked up"
    yield "memory", f"{_bytes(arena.used)} of {_bytes(arena.size)} in use"
    crashed = snapshot.restarts.workers_crashed
    if crashed or snapshot.restarts.supervisors_started > 1:
        supervisors = max(0, snapshot.restarts.supervisors_started - 1)
        yield "lost", f"{_count(crashed, 'worker')}, {_count(supervisors, 'supervisor')}"
    for label, events in (("restart", snapshot.restarts.causes), ("failure", snapshot.failures)):
        for latest in events[:1]:
            yield label, f"{moment(latest.at)}: {' '.join(latest.text.split())}"
    for problem in snapshot.problems:
        yield "problem", problem


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "nothing yet"
    figures = (("p50", spread.p50), ("p95", spread.p95), ("p99", spread.p99))
    return ", ".join(f"{name} {seconds(value)}" for name, value in figures)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
