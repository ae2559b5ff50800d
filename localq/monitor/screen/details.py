# SPDX-License-Identifier: MIT
"""One row of a panel, wholly: all that is known of a task, a worker, a function, a queue or an event; and a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import chop_cells

from localq.monitor.screen import words
from localq.monitor.screen.paint import BAD, FAINT, PLAIN, STRONG, bar, fit
from localq.monitor.screen.panel import entries_of
from localq.monitor.screen.panels import PANELS
from localq.monitor.snapshot import Depths, Event, FunctionReading, RunningTask, WorkerReading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from localq.monitor.history import Watched
    from localq.monitor.screen.paint import Glyphs, Line, Piece
    from localq.monitor.snapshot import Snapshot
    from localq.monitor.view import Details, View

__all__ = ["details", "details_length"]

NAME_WIDTH = 14

#: A fact: its name, and what is said of it; a text may be longer than a line.
Fact = tuple[str, "str | Sequence[Piece]"]


def details(watched: Watched, view: View, now: float, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    """As many of its lines as there is room for, from where it was scrolled to."""
    lines = _all(watched, view, now, glyphs, width)
    scroll = 0 if view.details is None else max(0, min(view.details.scroll, len(lines) - height))
    shown = lines[scroll : scroll + height]
    if len(lines) > scroll + height and height > 1:
        below = len(lines) - scroll - height + 1
        shown[-1] = tuple(fit([(f"  {words.many(below, 'more line')} below", FAINT)], width, glyphs))
    return [*shown, *[tuple(fit([], width, glyphs))] * (height - len(shown))]


def details_length(watched: Watched, view: View, now: float, glyphs: Glyphs, width: int) -> int:
    """How many lines there are in all."""
    return len(_all(watched, view, now, glyphs, width))


def _all(watched: Watched, view: View, now: float, glyphs: Glyphs, width: int) -> list[Line]:
    chosen, snapshot = view.details, watched.latest
    if chosen is None or snapshot is None:
        return []
    panel = PANELS[chosen.panel]
    entry = next(
        (each for each in entries_of(panel, snapshot, view.but(filter="")) if panel.key(each) == chosen.key), None
    )
    title = f"{chosen.panel.name.lower().rstrip('s')} {words.clean(chosen.key) if chosen.panel < 5 else ''}".rstrip()
    rule = glyphs.strong_rule
    head = fit([(f"{rule} ", FAINT), (title, STRONG), (" ", PLAIN)], min(width, len(title) + 3), glyphs)
    lines: list[Line] = [tuple(fit([*head, (rule * max(0, width - len(title) - 3), FAINT)], width, glyphs))]
    if chosen.stack is not None:  # first: it is what was asked for last
        lines += _stack(chosen.stack, width, glyphs)
        lines.append(tuple(fit([], width, glyphs)))
    if entry is None:
        lines += _fact("", _gone(chosen), width, glyphs)
    else:
        for name, said in _facts(entry, snapshot, now, glyphs):
            lines += _fact(name, said, width, glyphs)
    return lines


def _stack(stack: str, width: int, glyphs: Glyphs) -> Iterator[Line]:
    for text in stack.splitlines() or ["It said nothing."]:
        indent = 1 + min(len(text) - len(text.lstrip(" ")), width // 2)
        for part in chop_cells(words.clean(text.strip()) or " ", max(1, width - indent)):
            yield tuple(fit([(" " * indent, PLAIN), (part, PLAIN)], width, glyphs))


def _gone(chosen: Details) -> str:
    return "It has ended, or is not among those that are shown any more."


def _fact(name: str, said: str | Sequence[Piece], width: int, glyphs: Glyphs) -> Iterator[Line]:
    indent = NAME_WIDTH + 2 if width >= 40 else 2
    label = f" {name}"
    if not isinstance(said, str):
        yield tuple(fit([(f"{label:<{indent}}", FAINT), *said], width, glyphs))
        return
    for paragraph in said.splitlines() or [""]:
        for part in chop_cells(words.clean(paragraph), max(1, width - indent)) or [""]:
            yield tuple(fit([*fit([(label, FAINT)], indent, glyphs), (part, PLAIN)], width, glyphs))
            label = ""


def _facts(entry: object, snapshot: Snapshot, now: float, glyphs: Glyphs) -> list[Fact]:
    if isinstance(entry, RunningTask):
        return _of_task(entry, now, glyphs)
    if isinstance(entry, WorkerReading):
        return _of_worker(entry, snapshot, now, glyphs)
    if isinstance(entry, FunctionReading):
        return _of_function(entry)
    if isinstance(entry, Depths):
        return _of_queue(entry, snapshot)
    assert isinstance(entry, Event)
    return _of_event(entry, now)


def _of_task(task: RunningTask, now: float, glyphs: Glyphs) -> list[Fact]:
    facts: list[Fact] = [
        ("function", task.function),
        ("arguments", "not known" if task.arguments is None else task.arguments or "none"),
        (
            "runs for",
            words.duration(task.seconds)
            + (f", at most {words.duration(task.limit)}" if task.limit is not None else ""),
        ),
        ("waited", words.duration(task.waited)),
        ("attempt", str(task.attempt)),
        ("worker", str(task.worker_pid)),
        ("queue", f"{task.queue}, priority {task.priority}"),
    ]
    if task.items is not None:
        facts.append(("items begun", words.count(task.items)))
    if task.progress is not None:
        facts.append(("progress", [*bar(task.progress, 30, glyphs), (f" {words.percent(task.progress)}", PLAIN)]))
    if task.message:
        facts.append(("message", task.message))
    return facts


def _of_worker(worker: WorkerReading, snapshot: Snapshot, now: float, glyphs: Glyphs) -> list[Fact]:
    facts: list[Fact] = [
        ("state", worker.state),
        ("started", f"{words.duration(worker.age)} ago"),
        ("processor", "not known yet" if worker.cpu is None else f"{worker.cpu:.0f}% of one"),
        ("memory", "not known" if worker.memory is None else f"{words.size(worker.memory)} of its own"),
        ("busy", "not known yet" if worker.busy is None else f"{words.percent(worker.busy)} of the time"),
        ("tasks", f"{worker.done:,} done, {worker.failed:,} failed, {worker.retried:,} retried"),
        ("looks at", f"{words.size(worker.pinned)} of shared memory"),
    ]
    if worker.task_id is not None:
        facts.append(("task in hand", worker.task_id))
        if worker.tasks_in_hand > 1:
            facts.append(("and", words.many(worker.tasks_in_hand - 1, "other")))
        task = next((each for each in snapshot.slowest if each.task_id == worker.task_id), None)
        if task is not None:
            return facts + _of_task(task, now, glyphs)
        facts += [("function", worker.function or "not known"), ("runs for", words.duration(worker.task_seconds))]
    return facts


def _of_function(function: FunctionReading) -> list[Fact]:
    run = function.run
    facts: list[Fact] = [
        ("calls", f"{function.done:,} done, {function.failed:,} failed, {function.retried:,} retried"),
        ("rate", f"{words.rate(function.per_second)} per second"),
        ("run time", f"{words.duration(function.run_seconds)} in sum"),
    ]
    if function.items:
        facts.append(("items", f"{function.items:,} in chunks of maps"))
    facts += [
        (name, words.duration(value))
        for name, value in (
            ("mean", run.mean),
            ("half within", run.p50),
            ("95% within", run.p95),
            ("99% within", run.p99),
            ("longest", run.most),
        )
        if value is not None
    ]
    return facts


def _of_queue(depths: Depths, snapshot: Snapshot) -> list[Fact]:
    return [
        ("queued", f"{depths.total:,}"),
        *((name, f"{getattr(depths, name):,}") for name in ("critical", "high", "normal", "low")),
        ("room", f"for {snapshot.capacity:,} tasks on their way at once, in all queues"),
        ("later", f"{snapshot.delayed:,}, in all queues"),
    ]


def _of_event(event: Event, now: float) -> list[Fact]:
    return [
        ("kind", [(event.kind, BAD if event.kind in ("failure", "crash", "timeout") else PLAIN)]),
        ("when", f"{words.duration(max(0.0, now - event.at))} ago"),
        ("function", event.function or "not known"),
        ("task", event.task_id or "none"),
        ("process", str(event.pid) if event.pid else "not known"),
        ("said", event.text),
    ]
