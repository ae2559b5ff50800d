# SPDX-License-Identifier: MIT
"""A terminal for programs that draw: a pseudo-terminal, and a model of what is on its screen.

Used by the tests of `localq top`. The model knows the few sequences that such a program needs, and counts as `faults`
what it does not know, what would wrap, and what would scroll: so a test sees them on any machine, without a terminal.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.cells import cell_len

from tests.support.scripts import ROOT
from tests.support.waiting import eventually

WATCHDOG = 20.0  # seconds

#: Makes the terminal on its standard input the controlling one, then becomes the command.
_TAKE = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)
_SEQUENCE = re.compile(r"\x1b\[([?>]?)([\d;]*)([A-Za-z])|\x1b([=>()78][0-9A-B]?)|([\x00-\x1a\x1c-\x1f])")
_UNFINISHED = re.compile(r"\x1b(\[[?>]?[\d;]*)?$")


class Screen:
    """What was written to a terminal of that size, as one sees it. `raw`: all of it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.raw = b""
        self.faults: list[str] = []
        self.modes: dict[int, bool] = {7: True, 25: True, 1049: False}  # wrapping, a cursor, the other screen
        self.frames = 0  # that were drawn whole
        self._rest = b""
        self._text = ""
        self._saved: list[list[str]] = []
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._row = self._column = 0
        self._cells = [[" "] * columns for _ in range(lines)]

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._cells)

    def feed(self, data: bytes) -> None:
        self.raw += data
        whole = self._rest + data
        while whole:
            try:
                text, self._rest = whole.decode(), b""
                break
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    raise
                text, self._rest = whole[: error.start].decode(), whole[error.start :]
                break
        else:
            return
        text = self._text + text
        if unfinished := _UNFINISHED.search(text):
            text, self._text = text[: unfinished.start()], text[unfinished.start() :]
        else:
            self._text = ""
        at = 0
        for match in _SEQUENCE.finditer(text):
            self._write(text[at : match.start()])
            self._obey(match)
            at = match.end()
        self._write(text[at:])

    def _write(self, text: str) -> None:
        for character in text:
            wide = cell_len(character)
            if wide == 0:
                continue
            if self._column + wide > self.columns:
                if not self.modes[7]:
                    self.faults.append(f"line {self._row} is wider than {self.columns}: {character!r}")
                    continue
                self._column = 0
                self._down()
            self._cells[self._row][self._column] = character
            for more in range(1, wide):
                self._cells[self._row][self._column + more] = ""
            self._column += wide

    def _down(self) -> None:
        if self._row + 1 < self.lines:
            self._row += 1
            return
        if self.modes[1049]:
            self.faults.append("it scrolled")
        self._cells = [*self._cells[1:], [" "] * self.columns]

    def _obey(self, match: re.Match[str]) -> None:
        private, numbers, command, other, control = match.groups()
        if control is not None:
            self._control(control)
        elif other is not None:
            return
        elif private:
            for number in map(int, numbers.split(";")):
                self._set(number, command == "h")
        elif command == "H":
            row, _, column = numbers.partition(";")
            self._row = min(int(row or 1), self.lines) - 1
            self._column = min(int(column or 1), self.columns) - 1
            if int(row or 1) > self.lines:
                self.faults.append(f"line {row} of {self.lines}")
        elif command == "K":
            if self._column >= self.columns:
                self.faults.append("it clears what it has just written")
            self._cells[self._row][self._column :] = [" "] * (self.columns - self._column)
        elif command == "J":
            if self.modes[1049] and self.frames:
                self.faults.append("it clears the screen between two frames")
            self._cells = [[" "] * self.columns for _ in range(self.lines)]
        elif command not in "mnc":
            self.faults.append(f"unknown: {match[0]!r}")

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._down()
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif self.modes[1049]:
            self.faults.append(f"a control character: {character!r}")

    def _set(self, mode: int, on: bool) -> None:
        if mode == 1049 and on != self.modes[1049]:
            self.frames = 0
            if on:
                self._saved, self._cells = self._cells, [[" "] * self.columns for _ in range(self.lines)]
            elif len(self._saved) == self.lines:
                self._cells = self._saved
        if mode == 2026 and not on:
            self.frames += 1
        self.modes[mode] = on


class Terminal:
    """A command on a pseudo-terminal of its own, which is its controlling one."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = (80, 24),
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.screen = Screen(*size)
        self._master, self._slave = os.openpty()
        self.resize(*size)
        self.attributes = termios.tcgetattr(self._slave)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        known = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES", "FORCE_COLOR"):
            known.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            cwd=folder,
            env={**known, **(environment or {})},
        )

    def resize(self, columns: int, lines: int) -> None:
        """As when somebody pulls at the window."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        if (columns, lines) != (self.screen.columns, self.screen.lines):
            self.screen.resize(columns, lines)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self) -> str:
        """What is on the screen now."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # nobody has it open any more
                break
            if not data:
                break
            self.screen.feed(data)
        return self.screen.text

    def see(self, *words: str) -> str:
        """Wait until all of these are on the screen at once; the screen."""
        return self.wait_for(lambda text: all(word in text for word in words), f"{words} on the screen")

    def miss(self, *words: str) -> str:
        """Wait until none of these is on the screen."""
        return self.wait_for(lambda text: not any(word in text for word in words), f"{words} are gone")

    def wait_for(self, condition: Callable[[str], object], what: str) -> str:
        try:
            return eventually(lambda: text if condition(text := self.read()) else None, within=WATCHDOG, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen.text}") from None

    def end(self) -> int:
        """Wait until the command has ended; its exit status, negative for a signal."""
        deadline = time.monotonic() + WATCHDOG
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen.text}"
            select.select([self._master], [], [], 0.02)
        self.read()
        assert self.process.returncode is not None
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        """All is as it was before the command began."""
        self.read()
        modes = self.screen.modes
        return (
            not modes[1049] and modes[25] and modes[7] and not modes.get(2026)
            and termios.tcgetattr(self._slave) == self.attributes
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
        os.close(self._master)
        os.close(self._slave)
        self.process.wait(WATCHDOG)
