# SPDX-License-Identifier: MIT
"""How running queues and their tasks look on a terminal, and in a file.

Used by `localq ls` and `localq list`. Pure rendering: it is handed what was found and writes it. On a terminal it is a
table that fits; elsewhere it is a line each with tabs between, and a header, for cut and awk. NO_COLOR is rich's
business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from localq.monitor.census import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.overview import QueueLine, TaskLine

__all__ = ["show_queues", "show_tasks"]

GAP = 2  # columns between two
NARROWEST = 12  # columns that remain of one that is cut

_STYLES = {State.RUNNING: "green", State.SILENT: "bold red", State.STALE: "yellow", State.FOREIGN: "yellow"}


def show_queues(lines: Sequence[QueueLine], runtime_dir: str, console: Console | None = None) -> None:
    """Write them to stdout, or to that console."""
    out = console or Console(highlight=False)
    if not lines and out.is_terminal:
        out.print(Text(f"No queue of yours is running (none has a socket in {runtime_dir})."))
        return
    header = ("NAME", "STATE", "OWNER", "UPTIME", "WORKERS", "QUEUED", "RUNNING", "COMMAND")
    _write(out, header, [_cells(line) for line in lines], right={4, 5, 6, 3, 2}, flexible={7})
    for line in lines:
        if line.problem and out.is_terminal:
            out.print(Text.assemble((line.name, "bold"), f": {line.problem}"))


def show_tasks(found: dict[str, list[TaskLine]], console: Console | None = None) -> None:
    """Write the tasks of each queue."""
    out = console or Console(highlight=False)
    several = len(found) > 1
    rows = []
    for queue, tasks in found.items():
        for task in tasks:
            cells = [task.name, _text(task.signature), _options(task), _text(task.doc)]
            rows.append([Text(queue), *map(Text, cells)] if several else list(map(Text, cells)))
    if not rows and out.is_terminal:
        none = "none of your running queues has" if several or not found else f"queue {next(iter(found))} has no"
        out.print(
            Text(f"{none} registered tasks: `localq serve --task-modules` names modules that have some".capitalize())
        )
        return
    header = (*(("QUEUE",) if several else ()), "TASK", "ARGUMENTS", "OPTIONS", "WHAT IT DOES")
    _write(out, header, rows, right=set(), flexible={len(header) - 1, len(header) - 3})


def _cells(line: QueueLine) -> list[Text]:
    state = Text(line.state if line.phase in (None, "open") else str(line.phase), style=_STYLES.get(line.state, ""))
    workers = "-" if line.workers is None else f"{line.workers_alive}/{line.workers}"
    queued = "-" if line.queued is None else f"{sum(line.queued.values()) + (line.delayed or 0):,}"
    return [
        Text(line.name, style="bold"),
        state,
        Text("-" if line.pid is None else str(line.pid)),
        Text("-" if line.uptime is None else _duration(line.uptime)),
        Text(workers),
        Text(queued),
        Text("-" if line.running is None else f"{line.running:,}"),
        Text(_text(line.command or "-")),
    ]


def _options(task: TaskLine) -> str:
    told = {"queue": task.queue, "priority": task.priority, "timeout": task.timeout, "max_retries": task.max_retries}
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in told.items()
        if value is not None
    )


def _write(out: Console, header: Sequence[str], rows: list[list[Text]], right: set[int], flexible: set[int]) -> None:
    """`right`: columns of numbers; `flexible`: those that are cut where the terminal is too narrow."""
    lines = [[Text(name, style="dim") for name in header], *rows]
    if not out.is_terminal:
        for cells in lines:
            out.file.write("\t".join(cell.plain for cell in cells) + "\n")
        return
    widths = [max(cells[number].cell_len for cells in lines) for number in range(len(header))]
    for number in sorted(flexible, key=lambda number: -widths[number]):
        over = sum(widths) + GAP * (len(widths) - 1) - out.width
        widths[number] = max(min(widths[number], NARROWEST), widths[number] - max(0, over))
    for cells in lines:
        line = Text()
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            cell.truncate(width, overflow="ellipsis")
            cell.align("right" if number in right else "left", width)
            line.append_text(cell).append(" " * (GAP if number < len(widths) - 1 else 0))
        line.rstrip()
        out.print(line, no_wrap=True, overflow="ellipsis")


def _text(text: str) -> str:
    """On one line, without what would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _duration(seconds: float) -> str:
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}{int(seconds % size // smaller_size):02}{smaller}"
    return f"{int(seconds)}s"
