# SPDX-License-Identifier: MIT
"""The top of the screen: which queue, is it well, how much does it do, how long does that take, what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.history import Condition
from localq.monitor.screen import words
from localq.monitor.screen.paint import (
    BAD,
    FAINT,
    GOOD,
    NOTED,
    PLAIN,
    STRONG,
    WARNING,
    bar,
    cut,
    fit,
    flow,
    sparkline,
)
from localq.monitor.screen.workers import workers_busy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.history import History, Watched
    from localq.monitor.screen.paint import Glyphs, Line, Piece
    from localq.monitor.snapshot import Snapshot, Spread
    from localq.monitor.view import Scene

__all__ = ["header", "state_of"]

SMALL = 12  # lines of a screen on which the header makes itself small
LEAST_POINTS = 3  # of a sparkline
WIDE = 130  # cells from which sparklines are long


def state_of(watched: Watched, glyphs: Glyphs) -> Piece:
    """A symbol and a word: how the queue is."""
    snapshot = watched.latest
    if watched.condition is Condition.ENDED:
        return f"{glyphs.idle} ended", NOTED
    if watched.condition is Condition.SILENT:
        return f"{glyphs.bad} no answer", BAD
    if snapshot is None:
        return f"{glyphs.starting} coming", NOTED
    if snapshot.queue.phase in ("broken", "stopped"):
        return f"{glyphs.bad} {snapshot.queue.phase}", BAD
    if snapshot.problems:
        return f"{glyphs.warning} {words.many(len(snapshot.problems), 'problem')}", BAD
    if snapshot.queue.phase == "draining":
        return f"{glyphs.warning} draining", WARNING
    works = snapshot.running or snapshot.rates.done + snapshot.rates.failed > 0
    return f"{glyphs.good} healthy, {'at work' if works else 'idle'}", GOOD


def header(scene: Scene, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    """Lines of that width, fewer than `height` of them."""
    watched = scene.shown
    lines = [_tabs(scene, glyphs, width)] if len(scene.queues) > 1 and height > SMALL else []
    if watched is None:
        return [*lines, flow([(0, [("no queue of yours is running", STRONG)])], width, glyphs)]
    lines.append(_name(watched, scene, glyphs, width))
    if watched.condition is not Condition.READ:
        lines.append(flow([(0, [(_unread(watched, scene.now), PLAIN)])], width, glyphs))
    history = watched.history
    if history is None:
        return lines
    lines.append(_work(history.latest, glyphs, width))
    lines.append(_speed(history, glyphs, width))
    if height > SMALL:
        lines.append(_totals(history.latest, glyphs, width))
    if watched.condition is Condition.READ:
        lines += _problems(history.latest.problems, glyphs, width, height)
    return lines


def _tabs(scene: Scene, glyphs: Glyphs, width: int) -> Line:
    """All queues, that which is shown first in strength; with a sign how each is."""
    parts: list[tuple[int, Sequence[Piece]]] = []
    for rank, watched in enumerate(scene.queues):
        is_shown = watched is scene.shown
        text, style = state_of(watched, glyphs)
        name = words.clean(watched.name)
        sign: Piece = (f"{text[0]} ", style)
        part: list[Piece] = [sign, (f"[{name}]", "bold reverse")] if is_shown else [sign, (name, PLAIN)]
        parts.append((0 if is_shown else rank + 1, part))
    return flow(parts, width, glyphs)


def _name(watched: Watched, scene: Scene, glyphs: Glyphs, width: int) -> Line:
    snapshot, view = watched.latest, scene.view
    parts: list[tuple[int, Sequence[Piece]]] = [
        (0, [(words.clean(watched.name), STRONG)]),
        (0, [state_of(watched, glyphs)]),
    ]
    if view.is_paused:
        parts.append((0, [(f"{glyphs.stopped} display paused", WARNING)]))
    if snapshot is not None and watched.condition is Condition.READ:
        facts = snapshot.queue
        parts += [
            (1, [("up ", FAINT), (words.duration(facts.uptime), PLAIN)]),
            (3, [("owner ", FAINT), (f"{facts.owner_pid} ", PLAIN), (_command(facts.command, width // 4), FAINT)]),
            (
                4,
                [
                    ("supervisor ", FAINT),
                    ("none", BAD) if facts.supervisor_pid is None else (str(facts.supervisor_pid), PLAIN),
                ],
            ),
            (5, [(f"localq {words.clean(facts.version)}, Python {words.clean(facts.python)}", FAINT)]),
        ]
    return flow(parts, width, glyphs)


def _command(command: str, width: int) -> str:
    """Its beginning, without the folder of the program."""
    program, space, rest = words.clean(command).partition(" ")
    command = program.rpartition("/")[2] + space + rest
    return command if len(command) <= width else command[: max(0, width - 3)].rstrip() + "..."


def _unread(watched: Watched, now: float) -> str:
    ago = words.duration(max(0.0, round(now - watched.since)))
    if watched.condition is Condition.ENDED:
        last = "; below: how it was last" if watched.history is not None else ""
        return f"It ended {ago} ago; waiting for its return{last}."
    if watched.condition is Condition.SILENT:
        return f"For {ago}: {words.clean(watched.said)}"
    return "Reaching it."


def _work(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Line:
    """Workers, tasks on their way, memory."""
    busy, workers, arena = workers_busy(snapshot), snapshot.queue.workers, snapshot.arena
    gauge = bar(busy / workers if workers else 0.0, 8 if width < WIDE else 16, glyphs)
    queued = [("queued ", FAINT), (words.count(snapshot.queued), PLAIN)]
    if snapshot.delayed:
        queued.append((f" and {words.count(snapshot.delayed)} later", FAINT))
    results = [("results kept ", FAINT), (words.count(snapshot.results.kept), PLAIN)]
    if snapshot.results.unread:
        results.append((f", {words.count(snapshot.results.unread)} unread", FAINT))
    parts: list[tuple[int, Sequence[Piece]]] = [
        (0, [("workers ", FAINT), *(gauge if width >= 60 else []), (f" {busy} of {workers} busy", PLAIN)]),
        (0, queued),
        (1, [("running ", FAINT), (words.count(snapshot.running), PLAIN)]),
        (2, [("memory ", FAINT), (words.size(arena.used), PLAIN), (f" of {words.size(arena.size)}", FAINT)]),
        (3, results),
        (4, [("clients ", FAINT), (str(len(snapshot.clients)), PLAIN)]),
    ]
    return flow(parts, width, glyphs)


def _speed(history: History, glyphs: Glyphs, width: int) -> Line:
    """Throughput and latency, and how they have been."""
    snapshot, points = history.latest, history.points
    length = 28 if width >= WIDE else 12 if width >= 90 else 8
    if len(points) < LEAST_POINTS:
        length = 0
    rates = snapshot.rates
    speed: list[Piece] = [(f"{words.rate(rates.done + rates.failed):>5}", STRONG), (" tasks/s ", FAINT)]
    speed += sparkline([point.per_second for point in points], length, glyphs)
    run = [*_spread("run", snapshot.run), (" ", PLAIN)]
    run += sparkline([point.run_p95 for point in points], length, glyphs, NOTED)
    wait = _spread("wait", snapshot.wait)
    if width >= WIDE:
        wait += [(" ", PLAIN), *sparkline([point.wait_p95 for point in points], length, glyphs, NOTED)]
    parts: list[tuple[int, Sequence[Piece]]] = [(0, speed), (1, run), (2, wait)]
    if rates.items > 1.5 * (rates.done + rates.failed):
        parts.append((3, [(f"{words.rate(rates.items):>5}", PLAIN), (" items/s", FAINT)]))
    return flow(parts, width, glyphs)


def _spread(name: str, spread: Spread) -> list[Piece]:
    return [
        (f"{name} p50 ", FAINT),
        (f"{words.duration(spread.p50):>5}", PLAIN),
        (" p95 ", FAINT),
        (f"{words.duration(spread.p95):>5}", PLAIN),
    ]


def _totals(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Line:
    totals, restarts = snapshot.totals, snapshot.restarts

    def part(rank: int, name: str, number: int, style: str = PLAIN) -> tuple[int, Sequence[Piece]]:
        return rank, [(f"{name} ", FAINT), (words.count(number), style if number else FAINT)]

    parts = [
        part(0, "done", totals.done),
        part(0, "failed", totals.failed, BAD if snapshot.rates.failed else PLAIN),
        part(1, "retried", totals.retried, WARNING),
        part(3, "cancelled", totals.cancelled),
        part(2, "crashed workers", restarts.workers_crashed, WARNING),
    ]
    if restarts.supervisors_started > 1:
        parts.append(part(4, "supervisors", restarts.supervisors_started, WARNING))
    parts.append(
        (
            5,
            [
                ("in ", FAINT),
                (words.size(totals.bytes_in), PLAIN),
                (" out ", FAINT),
                (words.size(totals.bytes_out), PLAIN),
            ],
        )
    )
    return flow(parts, width, glyphs)


def _problems(problems: Sequence[str], glyphs: Glyphs, width: int, height: int) -> list[Line]:
    """In words, the worst first; what finds no room is counted. There is a line even for none, where there is room, so
    that nothing moves when the first one comes."""
    if not problems and height > SMALL:
        return [flow([(0, [(f"{glyphs.good} ", GOOD), ("nothing is wrong", FAINT)])], width, glyphs)]
    shown = problems[: 1 if height <= SMALL else 2 if height < 30 else 4]
    lines = []
    for number, problem in enumerate(shown, 1):
        left_out = len(problems) - number if number == len(shown) else 0
        more = f" (and {left_out} more)" if left_out else ""
        text = cut([(words.clean(problem), BAD)], max(1, width - 3 - len(more)), glyphs)
        lines.append(tuple(fit([(" ", PLAIN), (f"{glyphs.warning} ", BAD), *text, (more, FAINT)], width, glyphs)))
    return lines
