# SPDX-License-Identifier: MIT
"""What a user sees of a running map, and how seldom it is drawn."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from localq.monitor.progress import SHOW_EVERY_SECONDS, MapProgress
from tests.support.waiting import eventually


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A terminal of fixed size whose output is kept."""

    def __init__(self, width: int = 100) -> None:
        self.output = io.StringIO()
        self.console = Console(file=self.output, force_terminal=True, width=width, height=20, _environ={})

    @property
    def text(self) -> str:
        return _without_escapes(self.output.getvalue())

    @property
    def last_line(self) -> str:
        return re.split(r"[\r\n]+", self.text.strip())[-1]


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")
SHOW_CURSOR = "\x1b[?25h"
HIDE_CURSOR = "\x1b[?25l"


def _break_after(done: int, progress: MapProgress) -> None:
    with progress:
        progress.advance(done)
        raise RuntimeError("boom")


def _drawn(terminal: int) -> str:
    """All that a bar wrote, to its end; it arrives in pieces."""
    os.set_blocking(terminal, False)
    output = bytearray()

    def is_complete() -> bool:
        output.extend(os.read(terminal, 65536))  # BlockingIOError: not yet
        return SHOW_CURSOR.encode() in output

    eventually(is_complete, what="the cursor is shown again")
    return output.decode()


def _without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def screen() -> Screen:
    return Screen()


class Terminal:
    """A real pseudo-terminal as stderr, and what was written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reading_end, writing_end = pty.openpty()
        self._stderr = open(writing_end, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        monkeypatch.setattr(sys, "stderr", self._stderr)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("LINES", "20")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)

    def output(self) -> str:
        self._stderr.flush()
        return _drawn(self._reading_end)

    def hang_up(self) -> None:
        os.close(self._reading_end)
        self._reading_end = -1

    def close(self) -> None:
        if self._reading_end < 0:
            with contextlib.suppress(OSError):  # what it still holds
                self._stderr.close()
            return
        self._stderr.close()
        os.close(self._reading_end)


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Terminal]]:
    """To be called in the test's body: between the phases of a test pytest puts its own stderr back."""
    opened: list[Terminal] = []

    def open_one() -> Terminal:
        opened.append(Terminal(monkeypatch))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def test_bar_tells_count_rate_failures_and_times(screen: Screen, clock: Clock) -> None:
    with MapProgress(1000, "resize", console=screen.console, clock=clock) as progress:
        clock.now += 1
        progress.advance(100)
        clock.now += 1
        progress.advance(100, 3)
        line = screen.last_line

    assert line.startswith("resize ━")
    assert "200/1,000" in line
    assert "100/s" in line
    assert "3 failed" in line
    assert "0:00:08 left" in line
    assert line.endswith("0:00:02")


def test_no_failure_is_shown_while_there_is_none(screen: Screen, clock: Clock) -> None:
    with MapProgress(10, console=screen.console, clock=clock) as progress:
        clock.now += 1
        progress.advance(5)

    assert "failed" not in screen.text


def test_unknown_total_counts_without_remaining_time(screen: Screen, clock: Clock) -> None:
    with MapProgress(None, "lines", console=screen.console, clock=clock) as progress:
        clock.now += 2
        progress.advance(12_345)
        line = screen.last_line

    assert "12,345" in line
    assert "6,172/s" in line
    assert "left" not in line
    assert "/None" not in line


def test_bar_of_unknown_total_is_full_at_the_end(clock: Clock) -> None:
    pulsing, known = Screen(), Screen()

    with MapProgress(None, "lines", console=pulsing.console, clock=clock) as progress:
        progress.advance(10)
    with MapProgress(10, "lines", console=known.console, clock=clock) as progress:
        progress.advance(10)

    full = re.compile("\x1b\\[[0-9;]*m━+\x1b")
    assert full.findall(pulsing.output.getvalue())[-1][:8] == full.findall(known.output.getvalue())[-1][:8]


def test_slow_items_show_fractions_of_a_rate(screen: Screen, clock: Clock) -> None:
    with MapProgress(10, console=screen.console, clock=clock) as progress:
        clock.now += 8
        progress.advance(2)

    assert "0.25/s" in screen.last_line


def test_chunks_within_a_tenth_of_a_second_draw_once(screen: Screen, clock: Clock) -> None:
    with MapProgress(100_000, console=screen.console, clock=clock) as progress:
        clock.now += SHOW_EVERY_SECONDS
        progress.advance(1)
        before = screen.output.tell()
        for _ in range(1000):
            clock.now += SHOW_EVERY_SECONDS / 2000
            progress.advance(10)

        assert screen.output.tell() == before

        clock.now += SHOW_EVERY_SECONDS
        progress.advance(10)

        assert "10,011/100,000" in screen.last_line


def test_end_shows_what_was_not_drawn_yet(screen: Screen, clock: Clock) -> None:
    with MapProgress(50, console=screen.console, clock=clock) as progress:
        progress.advance(50, 1)

    assert "50/50" in screen.last_line
    assert "1 failed" in screen.last_line


def test_error_leaves_the_true_state_and_a_usable_terminal(screen: Screen, clock: Clock) -> None:
    with pytest.raises(RuntimeError, match="boom"):
        _break_after(7, MapProgress(50, console=screen.console, clock=clock))

    assert "7/50" in screen.last_line
    assert screen.output.getvalue().rindex(SHOW_CURSOR) > screen.output.getvalue().rindex(HIDE_CURSOR)


def test_waiting_keeps_the_elapsed_time_moving(screen: Screen, clock: Clock) -> None:
    with MapProgress(50, console=screen.console, clock=clock) as progress:
        clock.now += 75
        progress.advance(0)

        assert screen.last_line.endswith("0:01:15")


def test_brackets_in_a_description_are_shown_as_they_are(screen: Screen, clock: Clock) -> None:
    with MapProgress(5, "load[red] x[/red]", console=screen.console, clock=clock):
        pass

    assert "load[red] x[/red]" in screen.text


def test_narrow_terminal_keeps_the_count_on_one_line(clock: Clock) -> None:
    screen = Screen(width=60)

    with MapProgress(1000, "index", console=screen.console, clock=clock) as progress:
        clock.now += 1
        progress.advance(10, 1)

    assert "10/1,000" in screen.last_line
    assert len(screen.last_line) <= 60


def test_callback_gets_running_totals_seldom_and_the_end_always(clock: Clock) -> None:
    calls: list[tuple[int, int, int | None]] = []

    with MapProgress(30, progress=lambda *counts: calls.append(counts), clock=clock) as progress:
        clock.now += SHOW_EVERY_SECONDS
        progress.advance(10)
        progress.advance(10, 2)
        progress.advance(10)

    assert calls == [(0, 0, 30), (10, 0, 30), (30, 2, 30)]


def test_callback_is_not_called_while_an_error_leaves(clock: Clock) -> None:
    calls: list[tuple[int, int, int | None]] = []

    with pytest.raises(RuntimeError, match="boom"):
        _break_after(10, MapProgress(None, progress=lambda *counts: calls.append(counts), clock=clock))

    assert calls == [(0, 0, None)]


def test_error_of_a_callback_reaches_the_caller(clock: Clock) -> None:
    def refuse(done: int, failed: int, total: int | None) -> None:
        if done:
            raise ValueError("enough")

    def advance_once() -> None:
        with MapProgress(9, progress=refuse, clock=clock) as progress:
            clock.now += SHOW_EVERY_SECONDS
            progress.advance(1)

    with pytest.raises(ValueError, match="enough"):
        advance_once()


def test_progress_false_counts_and_draws_nothing(screen: Screen, clock: Clock) -> None:
    with MapProgress(9, progress=False, console=screen.console, clock=clock) as progress:
        clock.now += 1
        progress.advance(9, 1)

    assert (progress.done, progress.failed) == (9, 1)
    assert screen.text == ""


def test_bar_is_quiet_when_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with MapProgress(9, clock=clock) as progress:
        clock.now += 1
        progress.advance(9)

    assert capsys.readouterr() == ("", "")


def test_bar_is_quiet_when_there_is_no_stderr(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    with MapProgress(9, clock=clock) as progress:
        progress.advance(9)

    assert progress.done == 9


def test_bar_appears_on_a_terminal(open_terminal: Callable[[], Terminal], clock: Clock) -> None:
    terminal = open_terminal()

    with MapProgress(9, "resize", clock=clock) as progress:
        progress.advance(9)

    output = terminal.output()
    assert "9/9" in _without_escapes(output)
    assert COLOUR.search(output)


def test_a_terminal_that_hangs_up_ends_the_bar_and_not_the_map(
    open_terminal: Callable[[], Terminal], clock: Clock
) -> None:
    terminal = open_terminal()
    with MapProgress(10, progress=True, clock=clock) as progress:
        progress.advance(1)
        terminal.hang_up()
        for _ in range(9):
            clock.now += SHOW_EVERY_SECONDS
            progress.advance(1)
    assert progress.done == 10


def test_no_color_is_respected(
    open_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    terminal = open_terminal()
    monkeypatch.setenv("NO_COLOR", "1")

    with MapProgress(9, "resize", clock=clock) as progress:
        progress.advance(9)

    output = terminal.output()
    assert "9/9" in _without_escapes(output)
    assert not COLOUR.search(output)


def test_redirected_stdout_keeps_what_the_program_prints(
    open_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    terminal = open_terminal()
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)

    with MapProgress(9, clock=clock):
        print("for the file")

    assert stdout.getvalue() == "for the file\n"
    assert "for the file" not in terminal.output()


def test_a_bar_that_somebody_still_holds_at_the_end_leaves_a_usable_terminal() -> None:
    program = "from localq.monitor.progress import MapProgress\nheld = MapProgress(9).__enter__()\nheld.advance(3)\n"
    reading_end, writing_end = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            stderr=writing_end,
            env={**os.environ, **_plain_environment(), "TERM": "xterm"},
        )
        output = _drawn(reading_end)
    finally:
        os.close(writing_end)
        os.close(reading_end)

    assert "0/9" in output
    assert output.rindex(SHOW_CURSOR) > output.rindex(HIDE_CURSOR)
    assert "Traceback" not in output


def test_rich_is_not_imported_when_nothing_is_shown() -> None:
    program = (
        "import sys\n"
        "from localq.monitor.progress import MapProgress\n"
        "with MapProgress(9) as progress: progress.advance(9)\n"
        "with MapProgress(9, progress=lambda *counts: None) as progress: progress.advance(9)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('rich', 'typing')]\n"
    )

    subprocess.run([sys.executable, "-S", "-c", program], check=True, stderr=subprocess.PIPE, env=_plain_environment())


def _plain_environment() -> dict[str, str]:
    import localq

    assert localq.__path__ is not None
    return {"PYTHONPATH": os.path.dirname(next(iter(localq.__path__)))}
