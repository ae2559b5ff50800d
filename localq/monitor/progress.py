# SPDX-License-Identifier: MIT
"""Show how far a `map` has come: a bar on the terminal, or a callback of the user's.

Used by `LocalQueue.map(progress=...)`, once a call. It is told of finished chunks and draws at most ten times a
second; it starts no thread and no timer, and it knows nothing of queues, tasks or chunks beyond their counts.
"""

from __future__ import annotations

import atexit
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Protocol

    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

    ProgressCallback = Callable[[int, int, int | None], object]

    class Display(Protocol):
        """Where the counts go: the bar or the callback."""

        def show(self, done: int, failed: int, total: int | None, elapsed_seconds: float) -> None: ...

        def close(self, finished: bool) -> None: ...


SHOW_EVERY_SECONDS = 0.1  # faster than that nobody reads; drawing a bar costs about a millisecond


class MapProgress:
    """The progress of one map: counts, and the display they go to.

    Args:
        total: how many items there will be; None when that is not known (the bar pulses and counts).
        description: a few words before the bar, such as the name of the function.
        progress: True for a bar, on stderr if that is a terminal, or below a notebook's cell; a callable
            `(done, failed, total)`, called with running totals at the start, at most ten times a second, and once
            more at a regular end; False for neither.
        console: a rich Console to draw on instead of stderr, whatever it is connected to.
        clock: seconds, monotonic.

    A context manager: the display opens on entry and closes on exit, leaving the last state of the bar on screen.
    What the callback raises goes to the caller of `advance`.
    """

    __slots__ = (
        "_callback",
        "_clock",
        "_console",
        "_display",
        "_is_shown",
        "_show_after",
        "_started_at",
        "description",
        "done",
        "failed",
        "total",
    )

    def __init__(
        self,
        total: int | None,
        description: str = "",
        progress: bool | ProgressCallback = True,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.description = description
        self.done = 0
        self.failed = 0
        self._callback = None if isinstance(progress, bool) else progress
        self._is_shown = progress is not False
        self._console = console
        self._clock = clock
        self._display: Display | None = None
        self._started_at = 0.0
        self._show_after = 0.0

    def __enter__(self) -> MapProgress:
        self._started_at = self._clock()
        self._display = self._open_display()
        if self._display is not None:
            self._show(self._started_at)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        display, self._display = self._display, None
        if display is None:
            return
        try:
            # A callback is not bothered while an error is on its way: what it raised would hide that error.
            if exc_type is None or self._callback is None:
                display.show(self.done, self.failed, self.total, self._clock() - self._started_at)
        finally:
            display.close(finished=exc_type is None)

    def advance(self, done: int, failed: int = 0) -> None:
        """Note that `done` more items have finished, `failed` of them with an error.

        Called once a chunk; reads the clock once, so that its cost per item vanishes with the chunk's size. While a
        long wait goes on, `advance(0)` keeps the elapsed time moving.
        """
        self.done += done
        self.failed += failed
        if self._display is not None:
            now = self._clock()
            if now >= self._show_after:
                self._show(now)

    def _show(self, now: float) -> None:
        assert self._display is not None
        self._show_after = now + SHOW_EVERY_SECONDS
        self._display.show(self.done, self.failed, self.total, now - self._started_at)

    def _open_display(self) -> Display | None:
        if not self._is_shown:
            return None
        if self._callback is not None:
            return _Callback(self._callback)
        if self._console is None and _is_notebook():
            return _CellBar(self.total, self.description, self._clock)
        console = self._console or _console_on_stderr()
        if console is None:
            return None
        return _Bar(console, self.total, self.description, self._clock)


def _is_notebook() -> bool:
    """Whether this process is a notebook's kernel, which has cells to draw in."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return get_ipython() is not None


def _console_on_stderr() -> Console | None:
    """A console on stderr, or None when nobody would see a bar there. rich is not imported to find that out."""
    if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)  # NO_COLOR and the kind of terminal are rich's business
    return console if console.is_terminal else None


class _Callback:
    """The user's callable as a Display."""

    __slots__ = ("_call",)

    def __init__(self, call: ProgressCallback) -> None:
        self._call = call

    def show(self, done: int, failed: int, total: int | None, elapsed_seconds: float) -> None:
        self._call(done, failed, total)

    def close(self, finished: bool) -> None:
        """Nothing to put away."""


class _Bar:
    """A rich progress bar that is drawn only when it is told to. When its terminal is gone, the map goes on without."""

    __slots__ = ("_is_lost", "_progress", "_row")

    _progress: Progress
    _row: TaskID

    def __init__(
        self,
        console: Console,
        total: int | None,
        description: str,
        clock: Callable[[], float],
        starts: bool = True,  # to draw it by itself
    ) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False, style="progress.data.speed"),
            TextColumn("{task.fields[failures]}", markup=False, style="bold red"),
        ]
        if total is not None:
            columns += [TimeRemainingColumn(), TextColumn("left", style="progress.remaining")]
        columns.append(TimeElapsedColumn())
        self._progress = Progress(
            *columns,
            console=console,
            auto_refresh=False,  # the refresh thread would compete for the GIL with the submitting thread
            expand=True,
            get_time=clock,
            # What the program prints goes above the bar. But rich would send a redirected stdout to stderr's
            # terminal, so `program > file` must keep its own stdout.
            redirect_stdout=sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty(),
        )
        self._row = self._progress.add_task(description, total=total, count="", rate="", failures="")
        self._is_lost = False
        if starts:
            try:
                self._progress.start()
            except OSError:
                self._lose()
                return
            atexit.register(self._progress.stop)  # of a map that somebody still holds then: the cursor is hidden

    def show(self, done: int, failed: int, total: int | None, elapsed_seconds: float) -> None:
        if self._is_lost:
            return
        try:
            self._progress.update(
                self._row,
                completed=done,
                count=f"{done:,}" if total is None else f"{done:,}/{total:,}",
                rate=_rate(done, elapsed_seconds),
                failures=f"{failed:,} failed" if failed else "",
                refresh=True,
            )
        except OSError:
            self._lose()

    def close(self, finished: bool) -> None:
        row = self._progress.tasks[0]
        if finished and row.total is None:
            self._progress.update(self._row, total=row.completed)  # a full bar, instead of a pulse that stands still
        try:
            self._progress.stop()
        except OSError:
            self._is_lost = True
        atexit.unregister(self._progress.stop)

    def _lose(self) -> None:
        self._is_lost = True
        self.close(finished=False)

    def drawn(self) -> RenderableType:
        return self._progress.get_renderable()


class _CellBar:
    """The same bar below a notebook's cell, as a display that is replaced each time. rich's own way of doing that needs
    widgets, which most notebooks have not."""

    __slots__ = ("_bar", "_console", "_handle")

    WIDTH = 100  # characters
    FORM = '<pre style="white-space: pre; overflow-x: auto; line-height: normal; margin: 0">{code}</pre>'

    def __init__(self, total: int | None, description: str, clock: Callable[[], float]) -> None:
        from io import StringIO

        from rich.console import Console

        self._console = Console(
            file=StringIO(),
            record=True,
            width=self.WIDTH,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        self._bar = _Bar(self._console, total, description, clock, starts=False)
        self._handle: Any = None  # IPython's, of what is displayed

    def show(self, done: int, failed: int, total: int | None, elapsed_seconds: float) -> None:
        self._bar.show(done, failed, total, elapsed_seconds)
        self._display()

    def close(self, finished: bool) -> None:
        self._bar.close(finished)
        self._display()

    def _display(self) -> None:
        from IPython.display import display

        self._console.print(self._bar.drawn(), end="")
        shown = {
            "text/html": self._console.export_html(inline_styles=True, code_format=self.FORM, clear=False),
            "text/plain": self._console.export_text(),
        }
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def _rate(done: int, elapsed_seconds: float) -> str:
    """Items a second since the start, in three digits or so; empty while there is nothing to tell."""
    if done == 0 or elapsed_seconds <= 0:
        return ""
    rate = done / elapsed_seconds
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
