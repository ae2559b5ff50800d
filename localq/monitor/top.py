# SPDX-License-Identifier: MIT
"""The live program: reads queues, draws frames, obeys keys and signals, gives the terminal back.

Used by `localq top`. What reaches a queue is handed in (`Hands`); what is shown is decided by `localq.monitor.render`,
what a key does by `localq.monitor.steering`. Here they are brought together, in one loop that sleeps in `select`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from localq.errors import ConfigError
from localq.monitor.deeds import Done, do
from localq.monitor.history import Condition, Watched
from localq.monitor.keys import Keys
from localq.monitor.render import ASCII, UNICODE, escaped, render
from localq.monitor.steering import press
from localq.monitor.terminal import Terminal
from localq.monitor.view import Details, Scene, View
from localq.monitor.watching import News, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from localq.monitor.screen.paint import Glyphs, Line
    from localq.monitor.watching import Reader

__all__ = ["Hands", "Top", "glyphs_for", "watch"]

KEPT = 30.0  # seconds that a queue which has ended is shown beside others
TICK = 1.0  # seconds at most between two frames, and between two looks for new queues
ESCAPE = 0.05  # seconds in which the rest of a key's sequence comes, if it was one
FAREWELL = 0.3  # seconds that all who read have to end

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS = (*_ENDINGS, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


class Hands(NamedTuple):
    """What reaches queues."""

    reach: Callable[[str], Reader]
    names: Callable[[], Sequence[str]]  # of the queues that seem to run
    ask: Callable[[str, dict[str, Any]], dict[str, Any]]  # queue, request
    cancel: Callable[[str, str], bool]  # queue, task's id


class Top:
    """`names`: the queues to watch; without any, all that run. `colors`: see `localq.monitor.render.escaped`."""

    def __init__(
        self,
        names: Sequence[str],
        hands: Hands,
        terminal: Terminal,
        *,
        interval: float = 1.0,
        colors: str | None = None,
        glyphs: Glyphs = UNICODE,
    ) -> None:
        self._hands = hands
        self._terminal = terminal
        self._colors = colors
        self._glyphs = glyphs
        self._view = View(interval=interval)
        self._is_fixed = bool(names)
        self._watched: dict[str, Watched] = {}
        self._watches: dict[str, Watch] = {}
        self._frozen: Scene | None = None  # while the display is paused
        self._keys = Keys()
        self._letters: deque[News | Done] = deque()  # from other threads
        self._bell_in, self._bell_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lines: tuple[tuple[Line, ...], list[str]] = ((), [])
        for name in names:
            self._watch(name)

    def run(self) -> int:
        """Until it is to end: 0 for a key, or the signal's number."""
        kept = {number: signal.signal(number, _note) for number in _SIGNALS}
        kept_bell = signal.set_wakeup_fd(self._bell_out, warn_on_full_buffer=False)
        try:
            for watch in self._watches.values():
                watch.start()
            self._terminal.enter()
            return self._loop()
        except BrokenPipeError:
            return signal.SIGHUP
        finally:
            self._terminal.close()
            signal.set_wakeup_fd(kept_bell)
            for number, handler in kept.items():
                signal.signal(number, handler)
            self._end()

    # --- the loop ---------------------------------------------------------------------------------------------------

    def _loop(self) -> int:
        looked = escape_at = 0.0
        while True:
            now = time.monotonic()
            if not self._is_fixed and now - looked >= TICK:
                looked = now
                self._look_for_queues()
            self._draw()
            busy = [self._terminal.output] if self._terminal.is_busy else []
            wait = max(0.0, escape_at - now) if self._keys.is_waiting else TICK
            ready, writable, _ = select.select([self._terminal.keys, self._bell_in], busy, [], wait)
            if writable:
                self._terminal.flush()
            if self._bell_in in ready and (number := self._obey(self._signals())) is not None:
                return number
            if self._terminal.keys in ready:
                data = _read(self._terminal.keys)
                if not data:
                    return signal.SIGHUP  # nobody is there any more
                keys = self._keys.feed(data)
                escape_at = time.monotonic() + ESCAPE
            else:
                keys = self._keys.expire() if self._keys.is_waiting and time.monotonic() >= escape_at else []
            for key in keys:
                if self._press(key):
                    return 0
            while self._letters:
                self._receive(self._letters.popleft())

    def _signals(self) -> set[int]:
        """Those that came; a zero is a letter."""
        found: set[int] = set()
        while data := _read(self._bell_in):
            found.update(data)
        return found

    def _obey(self, numbers: set[int]) -> int | None:
        if signal.SIGTSTP in numbers and numbers.isdisjoint(_ENDINGS):
            self._suspend()
            numbers = numbers | self._signals()
        elif signal.SIGCONT in numbers:  # it was stopped without a word
            self._terminal.enter()
        if signal.SIGWINCH in numbers:
            self._terminal.forget()
        return next((number for number in _ENDINGS if number in numbers), None)

    def _suspend(self) -> None:
        """Stop as any program does, with the terminal as it was; and go on here when we are told to."""
        self._terminal.leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _note)
        self._terminal.enter()

    # --- keys and letters -------------------------------------------------------------------------------------------

    def _press(self, key: str) -> bool:
        """True when that was the last one."""
        if key == "redraw":
            self._terminal.enter()
            return False
        before, scene = self._view, self._scene()
        self._view, deed, is_end = press(scene, key)
        if self._view.is_paused and not before.is_paused:
            self._frozen = scene
        elif not self._view.is_paused:
            self._frozen = None
        if self._view.interval != before.interval:
            for watch in self._watches.values():
                watch.pace(self._view.interval)
        if deed is not None:
            hands = self._hands
            work = Thread(target=lambda: self._tell(do(deed, hands.ask, hands.cancel)), name="localq-deed", daemon=True)
            work.start()
        return is_end

    def _tell(self, letter: News | Done) -> None:
        """From any thread."""
        self._letters.append(letter)
        try:
            os.write(self._bell_out, b"\0")
        except OSError:  # full: it rings already; or closed: nobody wants to know any more
            pass

    def _receive(self, letter: News | Done) -> None:
        if isinstance(letter, Done):
            shown = self._view.details
            if letter.stack is not None and shown is not None and shown.stack is not None:
                self._view = self._view.but(details=Details(shown.panel, shown.key, shown.scroll, letter.stack))
            self._view = self._view.but(notice=letter.said if letter.stack is None else "")
            return
        name = letter.watch.name
        if self._watches.get(name) is not letter.watch:  # it was forgotten
            return
        before = self._watched[name]
        if letter.snapshot is not None:
            self._watched[name] = before.read(letter.snapshot)
        else:
            self._watched[name] = before.lost(letter.condition, letter.said, time.time())

    # --- queues -----------------------------------------------------------------------------------------------------

    def _watch(self, name: str) -> Watch:
        self._watched[name] = Watched(name)
        self._watches[name] = watch = Watch(name, self._hands.reach, self._tell, self._view.interval)
        return watch

    def _look_for_queues(self) -> None:
        """Where no names were given: new ones are watched, ended ones forgotten after a while, unless none is left."""
        for name in self._hands.names():
            if name not in self._watches:
                self._watch(name).start()
        now, shown = time.time(), len(self._shown())
        for name, watched in list(self._watched.items()):
            if watched.condition is Condition.ENDED and now - watched.since > KEPT:
                if watched.history is not None:
                    if shown < 2:
                        continue
                    shown -= 1
                del self._watched[name]
                self._watches.pop(name).stop()

    def _shown(self) -> tuple[Watched, ...]:
        """Not those that nobody has ever reached, such as sockets that were left behind; unless they were asked for."""
        return tuple(
            watched
            for _, watched in sorted(self._watched.items())
            if self._is_fixed or watched.history is not None or watched.condition is Condition.SILENT
        )

    def _scene(self) -> Scene:
        if self._frozen is not None:
            return Scene(self._frozen.queues, self._view, self._frozen.now)
        return Scene(self._shown(), self._view, time.time())

    # --- the screen -------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        """The newest frame, unless the terminal has not taken the last one yet."""
        if self._terminal.is_busy:
            return
        width, height = size = self._terminal.size()
        frame = render(self._scene(), width, height, self._glyphs)
        known = dict(zip(*self._lines, strict=True))
        drawn = [known.get(line) or escaped(line, self._colors) for line in frame.lines]
        self._lines = (frame.lines, drawn)
        self._terminal.draw(drawn, size)

    def _end(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        deadline = time.monotonic() + FAREWELL
        for watch in self._watches.values():
            watch.join(max(0.0, deadline - time.monotonic()))
        os.close(self._bell_in)
        bell, self._bell_out = self._bell_out, -1
        os.close(bell)


def watch(names: Sequence[str], hands: Hands, interval: float) -> int:
    """Show queues on this program's terminal until somebody has seen enough. Returns as `Top.run`.

    Raises:
        ConfigError: there is no terminal, or one that can do nothing.
    """
    console = Console()
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        raise ConfigError("there is no terminal to draw on; `localq top --once` prints one reading anywhere")
    try:
        keys = os.open(os.ttyname(0 if os.isatty(0) else 1), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"the terminal's keys can't be read ({error.strerror}); try `localq top --once`") from None
    encoding = sys.stdout.encoding or "ascii"
    terminal = Terminal(keys, sys.stdout.fileno(), encoding)
    try:
        return Top(
            names,
            hands,
            terminal,
            interval=interval,
            glyphs=glyphs_for(encoding),
            colors=None if console.no_color else console.color_system,
        ).run()
    finally:
        os.close(keys)


def glyphs_for(encoding: str | None) -> Glyphs:
    """Those that can be written in it."""
    return UNICODE if (encoding or "").lower().replace("-", "") == "utf8" else ASCII


def _note(number: int, frame: FrameType | None) -> None:
    """The loop hears of it by the wakeup descriptor."""


def _read(descriptor: int) -> bytes:
    """What is there; nothing when nothing is, or nobody will ever write."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
