# SPDX-License-Identifier: MIT
"""The whole program in a terminal: what it shows, what keys and signals do, and how it leaves the terminal."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from localq.monitor.snapshot import Snapshot
from tests.support.made_up import command, put
from tests.support.queues import lines_of
from tests.support.snapshots import BROKEN, BUSY, HOSTILE, IDLE, MANY_WORKERS, facts, snapshot, worker
from tests.support.terminals import Terminal
from tests.support.waiting import eventually


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Terminal]:
    """Watching the busy queue, at 80 x 24."""
    put(tmp_path, BUSY)
    with Terminal(command(tmp_path, "thumbnails")) as terminal:
        terminal.see("healthy, at work", "q quit")
        yield terminal
        assert terminal.screen.faults == []


def named(latest: Snapshot, name: str) -> Snapshot:
    return msgspec.structs.replace(latest, queue=msgspec.structs.replace(latest.queue, name=name))


def test_it_shows_the_queue_on_the_other_screen_and_q_gives_everything_back(top: Terminal) -> None:
    text = top.see("thumbnails", "photos.train_faces", "2 workers", "5 failures")
    modes = dict(top.screen.modes)

    top.press("q")

    assert top.end() == 0
    assert len(text.splitlines()) == 24
    assert (modes[1049], modes[25], modes[7]) == (True, False, False)
    assert top.is_restored
    assert "thumbnails" not in top.screen.text


def test_frames_come_without_clearing_and_only_what_changes_is_written(top: Terminal) -> None:
    top.wait_for(lambda _: top.screen.frames > 10, "ten frames")

    written = len(top.screen.raw)
    assert top.screen.raw.count(b"\x1b[2J") == 1
    assert written < 24 * 80 * 3 + top.screen.frames * 400
    top.press("q")
    top.end()


def test_keys_choose_panels_rows_details_and_help(top: Terminal) -> None:
    top.press("4")
    top.see("━ 4 tasks")
    top.press("\x1b[B\r")
    top.see("task 1a2b3c4d-2-7", "epoch 4 of 10, loss 0.031")
    top.press("\x1b")
    top.see("▸", "4 tasks")
    top.press("?")
    top.see("kill a task with its worker")
    top.press("\x1b")
    top.miss("kill a task with its worker")
    top.press("/mail\r")
    top.see("only /mail")
    top.miss("UnidentifiedImageError")


def test_a_task_is_cancelled_after_a_yes_and_not_before(top: Terminal, tmp_path: Path) -> None:
    top.press("4\x1b[Bc")
    top.see("Cancel task 1a2b3c4d-2-7 (photos.train_faces)?")
    top.press("n")
    top.see("nothing was done")
    assert lines_of(tmp_path / "deeds") == []

    top.press("cy")

    top.see("cancelled task 1a2b3c4d-2-7")
    assert lines_of(tmp_path / "deeds") == ["thumbnails cancel 1a2b3c4d-2-7"]


def test_a_stack_is_fetched_and_a_worker_drained_and_a_refusal_is_told(top: Terminal, tmp_path: Path) -> None:
    top.press("\x1b[Bt")
    top.see("worker 4002", 'File "photos.py", line 7 in train_faces')
    top.press("dy")
    top.see("ends after its task")
    top.press("K")
    top.see("Kill the worker of task")
    top.press("y")
    top.see("nothing here is ever killed")

    assert lines_of(tmp_path / "deeds") == [
        "thumbnails stack 4002",
        "thumbnails drain 4002",
        "thumbnails kill 1a2b3c4d-2-7",
    ]


def test_a_paused_display_stands_still_and_goes_on(top: Terminal, tmp_path: Path) -> None:
    top.press("p")
    top.see("display paused")
    put(tmp_path, named(IDLE, "thumbnails"))
    frames = top.screen.frames
    top.press("?")  # keys still work
    top.wait_for(lambda _: top.screen.frames > frames, "a frame")
    top.press("\x1b")
    assert "at work" in top.see("photos.train_faces")

    top.press("p")

    top.see("healthy, idle")


def test_it_fits_whatever_size_the_window_gets(top: Terminal) -> None:
    for columns, lines in ((200, 60), (40, 10), (1, 1), (120, 40), (80, 24)):
        top.screen.resize(columns, lines)
        top.resize(columns, lines)
        if lines > 1:
            top.see("thumbnails", "q quit")
    top.screen.faults.clear()  # of frames that were on their way when the window changed
    top.wait_for(lambda _: top.screen.frames > 20, "more frames")
    top.see("5 failures")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_before(top: Terminal, number: signal.Signals) -> None:
    top.process.send_signal(number)

    assert top.end() == number  # as `watch` returns it; the verb makes an exit status of it
    assert top.is_restored


def test_ctrl_c_ends_it(top: Terminal) -> None:
    top.press("\x03")

    assert top.end() == signal.SIGINT
    assert top.is_restored


def test_it_ends_when_its_terminal_goes_away(tmp_path: Path) -> None:
    put(tmp_path, BUSY)
    with Terminal(command(tmp_path)) as terminal:
        terminal.see("thumbnails")

        os.close(terminal._master)
        terminal._master = os.open("/dev/null", os.O_RDONLY)

        assert terminal.process.wait(10) in (signal.SIGHUP, -signal.SIGHUP)


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_brings_it_back(tmp_path: Path) -> None:
    put(tmp_path, BUSY)
    shell = ("sh", "-i")
    with Terminal(shell, environment={"PS1": "ready> ", "ENV": ""}) as terminal:
        terminal.see("ready>")
        terminal.press(" ".join(command(tmp_path)) + "\n")
        terminal.see("healthy, at work")
        terminal.press("\x1a")
        terminal.see("ready>")
        assert not terminal.screen.modes[1049]
        assert terminal.screen.modes[25]

        terminal.press("echo still $((6*7))\n")
        terminal.see("still 42")
        terminal.press("fg\n")
        terminal.see("healthy, at work", "q quit")
        assert terminal.screen.modes[1049]
        terminal.press("q")
        terminal.see("still 42")
        terminal.press("exit\n")

        terminal.end()
        assert terminal.screen.faults == []


def test_it_draws_anew_after_a_stop_that_it_could_not_see(top: Terminal) -> None:
    top.process.send_signal(signal.SIGSTOP)
    top.process.send_signal(signal.SIGCONT)
    top.wait_for(lambda _: top.screen.raw.count(b"\x1b[?1049h") == 2, "the screen is taken again")
    top.screen.faults.clear()  # taking it clears it

    top.see("healthy, at work")


def test_a_queue_that_ends_is_said_to_have_and_is_watched_when_it_returns(top: Terminal, tmp_path: Path) -> None:
    (tmp_path / "thumbnails.json").unlink()
    top.see("ended", "waiting for its return", "photos.train_faces")

    put(tmp_path, msgspec.structs.replace(IDLE, queue=facts(started_at=1.0)))

    top.see("healthy, idle")
    top.miss("photos.train_faces", "ended")


def test_all_queues_are_watched_and_new_ones_appear(tmp_path: Path) -> None:
    put(tmp_path, BUSY)
    with Terminal(command(tmp_path), size=(100, 30)) as terminal:
        terminal.see("thumbnails", "healthy, at work")
        put(tmp_path, named(BROKEN, "archive"))
        terminal.see("✗ ", "archive", "✓ ", "thumbnails")

        terminal.press("2n")
        terminal.see("✗ archive   ✓ [thumbnails]")
        (tmp_path / "archive.json").unlink()

        terminal.see("○ archive   ✓ [thumbnails]")
        assert terminal.screen.faults == []


def test_a_worker_that_dies_while_it_is_watched_is_seen(top: Terminal, tmp_path: Path) -> None:
    put(tmp_path, msgspec.structs.replace(BUSY, workers=(worker(4001, state="dead"), *BUSY.workers[1:])))
    top.see("✗ dead", "1 dead")

    put(tmp_path, BUSY)

    top.miss("dead")


@pytest.mark.parametrize(
    "latest", [HOSTILE, MANY_WORKERS, snapshot(workers=(), depths=())], ids=["hostile", "many", "nobody"]
)
def test_whatever_is_read_no_line_wraps_and_nothing_scrolls(latest: Snapshot, tmp_path: Path) -> None:
    put(tmp_path, latest)
    with Terminal(command(tmp_path)) as terminal:
        terminal.see("2 workers", "q quit")
        terminal.press("4\x1b[B\r")
        terminal.wait_for(lambda _: terminal.screen.frames > 5, "five frames")
        terminal.press("q")
        terminal.press("\x1bq")

        terminal.end()
        assert terminal.screen.faults == []
        assert b"\x07" not in terminal.screen.raw
        assert terminal.is_restored


def test_no_color_and_a_terminal_of_few_words_are_heeded(tmp_path: Path) -> None:
    put(tmp_path, BROKEN)
    for environment in ({"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}):
        with Terminal(command(tmp_path), environment=environment) as terminal:
            terminal.see("broken", "2 workers")
            terminal.press("q")
            terminal.end()
        if "NO_COLOR" in environment:
            assert b"38;5;" not in terminal.screen.raw
        else:
            assert terminal.screen.raw.isascii()


def test_a_terminal_that_takes_nothing_does_not_keep_it_from_ending(top: Terminal) -> None:
    attributes = termios.tcgetattr(top._slave)
    termios.tcflow(top._slave, termios.TCOOFF)  # as Ctrl-S
    try:
        top.process.send_signal(signal.SIGTERM)
        assert top.process.wait(10) == signal.SIGTERM
    finally:
        termios.tcflow(top._slave, termios.TCOON)
    assert attributes[3] & termios.ICANON == 0
    assert termios.tcgetattr(top._slave) == top.attributes
    top.screen.faults.clear()


def test_where_there_is_no_terminal_it_says_what_to_do() -> None:
    from localq.errors import ConfigError
    from localq.monitor.top import Hands, watch

    def never(*_: object) -> list[str]:
        raise AssertionError

    with pytest.raises(ConfigError, match="--once"):
        watch((), Hands(never, never, never, never), 1.0)  # type: ignore[arg-type]


def test_nothing_is_left_to_be_written_when_it_ends_at_once(tmp_path: Path) -> None:
    put(tmp_path, BUSY)
    with Terminal(command(tmp_path)) as terminal:
        terminal.press("q")  # before it reads keys

        assert terminal.end() == 0
        assert terminal.is_restored
        eventually(lambda: terminal.process.poll() is not None)
