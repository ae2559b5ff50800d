# SPDX-License-Identifier: MIT
"""The panel of running tasks, the one that has run longest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import BAD, FAINT, PLAIN, WARNING, bar, named
from localq.monitor.screen.panel import Column, Panel
from localq.monitor.view import PanelName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.screen.paint import Piece
    from localq.monitor.screen.panel import Setting
    from localq.monitor.snapshot import RunningTask, Snapshot

__all__ = ["TASKS"]


def _title(snapshot: Snapshot) -> str:
    return f"{words.count(snapshot.running)} running"


def _function(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return named(task.function, width)


def _seconds(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    late = task.limit is not None and task.seconds > task.limit
    return [(words.duration(task.seconds) + ("!" if late else ""), BAD if late else PLAIN)]


def _progress(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    if task.progress is None:
        return [] if task.items is None else [(f"{words.count(task.items)} items", FAINT)]
    return [*bar(task.progress, width - 5, setting.glyphs), (f" {words.percent(task.progress):>4}", PLAIN)]


def _message(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(task.message or ""), PLAIN)]


def _pid(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(str(task.worker_pid), FAINT)]


def _attempt(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(str(task.attempt), WARNING if task.attempt > 1 else FAINT)]


def _waited(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.duration(task.waited), FAINT)]


def _queue(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(task.queue), FAINT)]


def _priority(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(task.priority), FAINT)]


def _task_id(task: RunningTask, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(task.task_id), FAINT)]


TASKS = Panel(
    name=PanelName.TASKS,
    title=_title,
    entries=lambda snapshot: snapshot.slowest,
    key=lambda task: task.task_id,
    words=lambda task: (
        f"{task.function} {task.message or ''} {task.task_id} {task.worker_pid} {task.queue} {task.priority}"
    ),
    nothing="no task is running",
    columns=(
        Column(head="function", width=12, cell=_function, grow=3, sort=lambda task: task.function, falling=False),
        Column(head="for", width=6, cell=_seconds, right=True, sort=lambda task: task.seconds),
        Column(head="progress", width=14, cell=_progress, grow=1, sort=lambda task: task.progress or 0.0),
        Column(head="message", width=24, cell=_message, grow=3, rank=1),
        Column(head="worker", width=7, cell=_pid, right=True, rank=3, sort=lambda task: task.worker_pid, falling=False),
        Column(head="try", width=3, cell=_attempt, right=True, rank=2, sort=lambda task: task.attempt),
        Column(head="waited", width=6, cell=_waited, right=True, rank=4, sort=lambda task: task.waited),
        Column(head="priority", width=8, cell=_priority, rank=6),
        Column(head="queue", width=10, cell=_queue, rank=5, sort=lambda task: task.queue, falling=False),
        Column(head="task", width=18, cell=_task_id, rank=7),
    ),
)
