# SPDX-License-Identifier: MIT
"""How examined queues look on a terminal, and in a file.

Used by `localq doctor`. Pure rendering: it is handed what was found and writes it. On a terminal, long lines are
folded under their indentation; elsewhere each stays one line, for grep. NO_COLOR is rich's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from localq.monitor.census import State
from localq.monitor.diagnosis import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from localq.monitor.census import Examined, Readings
    from localq.monitor.diagnosis import Finding

__all__ = ["show"]

LONGEST_COMMAND = 100  # characters; who needs all of it has --json

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def show(examined: Iterable[Examined], runtime_dir: str, console: Console | None = None) -> None:
    """Write them to stdout, or to that console."""
    out = console or Console(highlight=False)
    queues = list(examined)
    if not queues:
        _write(out, 0, Text(f"No queue of yours is running (none has a socket in {runtime_dir})."))
    for queue in queues:
        for indent, line in _lines_of(queue):
            _write(out, indent, line)
    if len(queues) > 1:
        _write(out, 0, Text(_sum_of(queues)))


def _write(out: Console, indent: int, line: Text) -> None:
    if out.is_terminal:
        out.print(Padding(line, (0, 0, 0, indent)))
    else:
        out.print(Text(" " * indent).append_text(line), soft_wrap=True)


def _lines_of(queue: Examined) -> Iterable[tuple[int, Text]]:
    yield 0, _title(queue)
    if queue.owner is not None:
        yield 2, Text(f"owner {queue.owner.pid} {_shortened(queue.owner.command)}".rstrip())
    if queue.readings is not None:
        yield 2, Text(_processes(queue.readings))
        yield 2, Text(_work(queue.readings))
        for line in (_memory(queue.readings), _looking(queue.readings)):
            if line is not None:
                yield 2, Text(line)
    if queue.looks and queue.state is State.RUNNING:
        yield 2, Text(_looks(queue), style="dim")
    for finding in queue.findings:
        yield 2, _sentence(finding)
        yield 4, Text(finding.advice, style="dim")


def _title(queue: Examined) -> Text:
    title = Text(queue.name, style="bold")
    title.append(f"  {queue.state}", style="not bold")
    if queue.removed:
        title.append(", removed", style="not bold green")
    elif not queue.is_healthy:
        title.append(", UNHEALTHY", style="bold red")
    elif queue.state is State.RUNNING:
        title.append(", healthy", style="not bold green")
    return title


def _sentence(finding: Finding) -> Text:
    return Text.assemble((finding.severity.value, _STYLES[finding.severity]), f" {finding.code}: {finding.what}")


def _processes(readings: Readings) -> str:
    others = len(readings.clients) - 1
    clients = f"; {others} attached {'client' if others == 1 else 'clients'}" if others > 0 else ""
    return (
        f"supervisor {readings.supervisor_pid}; {readings.workers_alive} of {readings.workers} workers,"
        f" {readings.workers_busy} busy{clients}"
    )


def _work(readings: Readings) -> str:
    several = len(readings.queued) > 1
    queued = ", ".join(
        f"{number:,} queued" + (f" in {name}" if several else "") for name, number in readings.queued.items()
    )
    return (
        f"{queued}; {readings.running} running, {readings.unread:,} unread, {readings.kept:,} kept;"
        f" memory {_size(readings.memory_held)} of {_size(readings.memory)}"
    )


_HOLDERS = {
    "arguments": "arguments",
    "results": "results",
    "functions": "functions",
    "kept": "kept values",
    "pinned": "shared values, arrays and views",
    "owned": "being written or warm",
    "idle": "idle",
}
MOST_LOOKING = 8  # processes that are named


def _memory(readings: Readings) -> str | None:
    """Who holds what of the arena."""
    parts = [
        f"{what} {_size(readings.memory_by[key])}" for key, what in _HOLDERS.items() if readings.memory_by.get(key)
    ]
    return f"of memory: {', '.join(parts)}" if parts else None


def _looking(readings: Readings) -> str | None:
    """Whose views keep it."""
    if not readings.looking:
        return None
    named = [
        f"{each.role} {each.pid} at {each.blocks:,} {'block' if each.blocks == 1 else 'blocks'}, {_size(each.bytes)}"
        for each in readings.looking[:MOST_LOOKING]
    ]
    others = len(readings.looking) - MOST_LOOKING
    return f"looking: {'; '.join(named)}{f'; and {others} others' if others > 0 else ''}"


def _looks(queue: Examined) -> str:
    said = "every word is accounted for" if queue.is_healthy else "they agree on what follows"
    return f"looked {queue.looks} times in {queue.seconds:.1f} s: {said}"


def _shortened(command: str) -> str:
    return command if len(command) <= LONGEST_COMMAND else command[: LONGEST_COMMAND - 3] + "..."


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _sum_of(queues: list[Examined]) -> str:
    bad = sum(not queue.is_healthy for queue in queues)
    return f"{len(queues)} queues, {f'{bad} unhealthy' if bad else 'none unhealthy'}"
