# SPDX-License-Identifier: MIT
"""A terminal that is borrowed for a while: its other screen, its keys one by one, and all as it was afterwards.

Used by `localq top`. Knows nothing of what is drawn.

Written without blocking, where the system allows that: a terminal that takes nothing (Ctrl-S, a stalled connection)
keeps nobody from reading keys and signals, and gets the newest frame when it goes on, not all that it has missed.
"""

from __future__ import annotations

import errno
import os
import select
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Terminal"]

PATIENCE = 0.5  # seconds that a terminal has to take the last bytes

_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J\x1b[H"  # other screen, no cursor, no wrapping
_LEAVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN = b"\x1b[?2026h"  # all at once, where the terminal knows how
_END = b"\x1b[?2026l"


class Terminal:
    """Between `enter` and `leave` it is ours. `keys` and `screen`: descriptors of it, which stay open."""

    def __init__(self, keys: int, screen: int, encoding: str = "utf-8") -> None:
        self.keys = keys
        self._encoding = encoding
        self._attributes: list[object] | None = None
        self._is_entered = False
        self._unwritten = b""
        self._drawn: tuple[tuple[int, int], list[str]] = ((0, 0), [])
        try:  # a description of our own, so that not to block is our own business
            self.output = os.open(os.ttyname(screen), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # somebody else's terminal, after su
            self.output = os.dup(screen)

    def enter(self) -> None:
        """Take it. Once more does no harm, and takes it again after somebody else had it."""
        if self._attributes is None:
            self._attributes = termios.tcgetattr(self.keys)
        changed = termios.tcgetattr(self.keys)
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        _set_attributes(self.keys, changed)
        self._is_entered = True
        self._unwritten = b""
        self.forget()
        self._write(_ENTER)

    def leave(self) -> None:
        """Give it back as it was. More than once does no harm."""
        if not self._is_entered:
            return
        self._is_entered = False
        self._unwritten += _LEAVE
        deadline = time.monotonic() + PATIENCE
        try:
            while self._unwritten and time.monotonic() < deadline:
                select.select([], [self.output], [], max(0.0, deadline - time.monotonic()))
                self.flush()
        except OSError:  # it is gone
            pass
        if self._attributes is not None:
            try:
                _set_attributes(self.keys, self._attributes)
            except (OSError, termios.error):
                pass

    def close(self) -> None:
        self.leave()
        os.close(self.output)

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self.output)
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24  # some terminals do not know

    @property
    def is_busy(self) -> bool:
        """It has not taken the last frame yet."""
        return bool(self._unwritten)

    def forget(self) -> None:
        """Draw all lines next time: who knows what is there now."""
        self._drawn = ((0, 0), [])

    def draw(self, lines: Sequence[str], size: tuple[int, int]) -> None:
        """Show these lines, with their escape sequences, none wider than the terminal, each of which says itself what
        becomes of the rest of its line. Only those that differ are written."""
        old_size, old = self._drawn
        known = old if old_size == size else []
        parts = []
        for number, line in enumerate(lines):
            if number >= len(known) or known[number] != line:
                parts.append(f"\x1b[{number + 1};1H{line}")
        self._drawn = (size, list(lines))
        if parts:
            self._write(_BEGIN + "".join(parts).encode(self._encoding, "replace") + b"\x1b[0m" + _END)

    def flush(self) -> None:
        """Write what it takes of what is left. Raises OSError when it is gone."""
        while self._unwritten:
            try:
                written = os.write(self.output, self._unwritten)
            except BlockingIOError:
                return
            self._unwritten = self._unwritten[written:]

    def _write(self, data: bytes) -> None:
        self._unwritten += data
        self.flush()


def _set_attributes(terminal: int, attributes: list[object]) -> None:
    """At once: to wait until all was written could take for ever."""
    while True:
        try:
            return termios.tcsetattr(terminal, termios.TCSANOW, attributes)  # type: ignore[arg-type]
        except termios.error as error:  # a signal came in between, as when a stopped program goes on
            if error.args[0] != errno.EINTR:
                raise
