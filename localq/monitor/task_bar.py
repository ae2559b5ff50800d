# SPDX-License-Identifier: MIT
"""Show how far one task has come, as it says itself: a bar that is drawn when it is told to.

Used by `localq status --follow` on a terminal. Knows nothing of queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import Console

__all__ = ["TaskBar"]


class TaskBar:
    """A context manager: the bar appears on entry, and its last state stays."""

    def __init__(self, name: str, console: Console | None = None) -> None:
        """`console`: to draw on; None: stderr."""
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[state]}", markup=False, style="bold"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[percent]:>5}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", markup=False),
            console=console or RichConsole(stderr=True),
            refresh_per_second=4,  # the time goes on, and the bar moves, while the task says nothing
        )
        self._row = self._progress.add_task(name, total=None, state="", percent="", message="")

    def show(self, state: str, progress: float | None, message: str | None) -> None:
        """`progress` from 0 to 1; None: not known."""
        self._progress.update(
            self._row,
            total=None if progress is None else 1.0,
            completed=progress or 0.0,
            state=state,
            percent="" if progress is None else f"{progress:.0%}",
            message=" ".join((message or "").split()),
            refresh=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress.tasks[0].total is None:
            self._progress.update(self._row, total=1.0)  # an empty bar, instead of a pulse that stands still
        self._progress.stop()
