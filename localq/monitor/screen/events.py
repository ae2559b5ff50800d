# SPDX-License-Identifier: MIT
"""The panels of what happened: failures and restarts, and what tasks wrote; the latest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import BAD, FAINT, NOTED, PLAIN, WARNING, named
from localq.monitor.screen.panel import Column, Panel
from localq.monitor.view import PanelName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.screen.paint import Piece
    from localq.monitor.screen.panel import Setting
    from localq.monitor.snapshot import Event, Snapshot

__all__ = ["FAILURES", "LOG", "key_of"]

_STYLES = {"failure": BAD, "crash": BAD, "timeout": BAD, "retry": WARNING, "restart": NOTED}


def key_of(event: Event) -> str:
    """Nothing names an event; this tells it from others as long as a view needs it."""
    return f"{event.at!r} {event.pid} {event.task_id} {event.kind}"


def _failures(snapshot: Snapshot) -> Sequence[Event]:
    return sorted((*snapshot.failures, *snapshot.restarts.causes), key=lambda event: -event.at)


def _failures_title(snapshot: Snapshot) -> str:
    started = snapshot.restarts.workers_crashed
    crashed = f", {words.many(started, 'worker')} crashed" if started else ""
    return f"{words.count(snapshot.totals.failed)} failed{crashed}"


def _log_title(snapshot: Snapshot) -> str:
    lost = snapshot.restarts.lines_lost
    return f"{words.count(lost)} lines lost" if lost else ""


def _ago(event: Event, setting: Setting, width: int) -> Sequence[Piece]:
    seconds = max(0.0, setting.now - event.at)
    return [("now" if seconds < 1 else words.duration(seconds), FAINT)]


def _kind(event: Event, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(event.kind), _STYLES.get(event.kind, PLAIN))]


def _function(event: Event, setting: Setting, width: int) -> Sequence[Piece]:
    return named(event.function or "", width, FAINT)


def _text(event: Event, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(event.text), PLAIN)]


def _pid(event: Event, setting: Setting, width: int) -> Sequence[Piece]:
    return [(str(event.pid) if event.pid else "", FAINT)]


def _words(event: Event) -> str:
    return f"{event.kind} {event.function or ''} {event.text} {event.pid} {event.task_id or ''}"


_AGO = Column(head="ago", width=6, cell=_ago, right=True, sort=lambda event: event.at)
_TEXT = Column(head="", width=16, cell=_text, grow=4)
_FUNCTION = Column(
    head="function", width=12, cell=_function, grow=1, rank=1, sort=lambda event: event.function or "", falling=False
)
_PID = Column(head="pid", width=7, cell=_pid, right=True, rank=2, sort=lambda event: event.pid, falling=False)

FAILURES = Panel(
    name=PanelName.FAILURES,
    title=_failures_title,
    entries=_failures,
    key=key_of,
    words=_words,
    nothing="nothing has failed",
    columns=(
        _AGO,
        Column(head="kind", width=7, cell=_kind, sort=lambda event: event.kind, falling=False),
        _TEXT,
        _FUNCTION,
        _PID,
    ),
)
LOG = Panel(
    name=PanelName.LOG,
    title=_log_title,
    entries=lambda snapshot: snapshot.log,
    key=key_of,
    words=_words,
    nothing="no task wrote a line",
    columns=(_AGO, _TEXT, _FUNCTION, _PID),
)
