# SPDX-License-Identifier: MIT
"""The panel of workers: what each process is doing; what is wrong, what runs long and what is busy first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import BAD, FAINT, GOOD, NOTED, PLAIN, WARNING, bar, named
from localq.monitor.screen.panel import Column, Panel
from localq.monitor.view import PanelName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.screen.paint import Glyphs, Piece
    from localq.monitor.screen.panel import Setting
    from localq.monitor.snapshot import RunningTask, Snapshot, WorkerReading

__all__ = ["WORKERS", "sign_of", "workers_busy"]

_WRONG = ("dead", "stopped")


def workers_busy(snapshot: Snapshot) -> int:
    return sum(worker.state == "running" for worker in snapshot.workers)


def sign_of(state: str, glyphs: Glyphs) -> Piece:
    """A symbol for the state of a worker, and its style."""
    return {
        "running": (glyphs.running, GOOD),
        "idle": (glyphs.idle, FAINT),
        "starting": (glyphs.starting, NOTED),
        "stopped": (glyphs.stopped, WARNING),
        "dead": (glyphs.dead, BAD),
    }.get(state, ("?", WARNING))


def _title(snapshot: Snapshot) -> str:
    counted = {
        state: sum(worker.state == state for worker in snapshot.workers) for state in ("dead", "stopped", "starting")
    }
    others = "".join(f", {number} {state}" for state, number in counted.items() if number)
    return f"{workers_busy(snapshot)} of {snapshot.queue.workers} busy{others}"


def _entries(snapshot: Snapshot) -> Sequence[WorkerReading]:
    return sorted(snapshot.workers, key=_order)


def _order(worker: WorkerReading) -> tuple[float, ...]:
    """What is wrong, then who has run for a second or more, then the busiest. In steps, and by pid where that says
    nothing: at hundreds of tasks a second rows would change places all the time."""
    wrong = _WRONG.index(worker.state) if worker.state in _WRONG else len(_WRONG)
    return (wrong, -round(worker.task_seconds or 0.0), -round(worker.busy or 0.0, 1), worker.pid)


def _task_of(worker: WorkerReading, snapshot: Snapshot) -> RunningTask | None:
    return next(
        (task for task in snapshot.slowest if worker.task_id is not None and task.task_id == worker.task_id), None
    )


def _state(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    symbol, style = sign_of(worker.state, setting.glyphs)
    return [(f"{symbol} ", style), (words.clean(worker.state), style)]


def _pid(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(str(worker.pid), PLAIN)]


def _function(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    if worker.function is None:
        return []
    others = worker.tasks_in_hand - 1
    more = f" and {others} more" if others > 0 else ""
    return [*named(worker.function, width - len(more)), (more, FAINT)]


def _since(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [] if worker.task_seconds is None else [(words.duration(worker.task_seconds), PLAIN)]


def _progress(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    task = _task_of(worker, setting.snapshot)
    if task is None or task.progress is None:
        return []
    return [*bar(task.progress, width - 5, setting.glyphs), (f" {words.percent(task.progress):>4}", PLAIN)]


def _cpu(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [("-", FAINT)] if worker.cpu is None else [(f"{worker.cpu:.0f}%", PLAIN if worker.cpu >= 1 else FAINT)]


def _memory(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [("-", FAINT)] if worker.memory is None else [(words.size(worker.memory), PLAIN)]


def _busy(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.percent(worker.busy), PLAIN if worker.busy else FAINT)]


def _done(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.count(worker.done), PLAIN if worker.done else FAINT)]


def _failed(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.count(worker.failed), BAD if worker.failed else FAINT)]


def _age(worker: WorkerReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.duration(worker.age), FAINT)]


WORKERS = Panel(
    name=PanelName.WORKERS,
    title=_title,
    entries=_entries,
    key=lambda worker: str(worker.pid),
    words=lambda worker: f"{worker.pid} {worker.state} {worker.function or ''} {worker.task_id or ''}",
    nothing="no worker",
    columns=(
        Column(head="state", width=10, cell=_state),
        Column(
            head="function", width=12, cell=_function, grow=3, sort=lambda worker: worker.function or "", falling=False
        ),
        Column(head="for", width=6, cell=_since, right=True, sort=lambda worker: worker.task_seconds or 0.0),
        Column(head="progress", width=14, cell=_progress, grow=1, rank=4),
        Column(head="pid", width=7, cell=_pid, right=True, rank=1, sort=lambda worker: worker.pid, falling=False),
        Column(head="cpu", width=5, cell=_cpu, right=True, sort=lambda worker: worker.cpu or 0.0),
        Column(head="memory", width=6, cell=_memory, right=True, rank=2, sort=lambda worker: worker.memory or 0),
        Column(head="busy", width=5, cell=_busy, right=True, rank=5, sort=lambda worker: worker.busy or 0.0),
        Column(head="done", width=6, cell=_done, right=True, rank=3, sort=lambda worker: worker.done),
        Column(head="failed", width=6, cell=_failed, right=True, rank=3, sort=lambda worker: worker.failed),
        Column(head="age", width=6, cell=_age, right=True, rank=6, sort=lambda worker: worker.age),
    ),
)
