# SPDX-License-Identifier: MIT
"""What tasks write, on its way from a worker to the owner of the queue.

Used by workers, whose `sys.stdout` and `sys.stderr` become streams that send whole lines over a socket; the other half
is `localq.client.output`. A packet says whose lines they are. A task that writes nothing costs nothing: no stream is
touched, nothing is sent. An owner that does not read (it was stopped, say) holds a worker up once, for a moment; from
then on what finds no room is dropped and counted, until there is room again.
"""

from __future__ import annotations

import os
import sys
import warnings  # once, by the supervisor, instead of by each worker
from _thread import _local, get_ident
from io import BufferedIOBase, TextIOWrapper
from marshal import dumps  # both ends are the same interpreter, and it imports nothing
from time import monotonic

from localq._native import TALLY_LINES_LOST
from localq.pool.context import in_hand

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import TextIO

    from localq._native import Space, Worker
    from localq.pool.brief import Logs

    Buffer = bytes | bytearray | memoryview

__all__ = ["MOST_BYTES", "STDERR", "STDOUT", "WAIT", "WARNING", "name_of", "send_output"]

STDOUT, STDERR, WARNING = range(3)  # a warning goes to stderr, and who shows it does so once
WAIT = 2.0  # seconds that a worker waits for room, once: the owner reads within milliseconds, unless it was stopped
MOST_KEPT = 16  # lines a second that the journal gets: half of its room, so who looks every second misses no failure
KEPT_BYTES = 4096  # of what is written at once: more than so many lines that it keeps
MOST_BYTES = 32768  # of text in one packet; a longer line travels in parts


def send_output(worker: Worker, space: Space, fd: int, logs: Logs | None) -> None:
    """In a worker, before any code of the user's: from now on what is written goes to the owner, by the socket `fd`."""
    voice = _Voice(worker, space, fd)
    before = sys.stdout, sys.stderr
    pipes = [_Lines(voice, STDOUT), _Lines(voice, STDERR)]
    sys.stdout, sys.stderr = (_text(pipe) for pipe in pipes)

    def let_out() -> None:
        for pipe in pipes:
            pipe.let_out()

    worker.let_out = let_out
    _show_warnings_by(pipes[1], sys.stderr)
    if "logging" in sys.modules:  # the handlers that came with a fork, or with a preloaded module
        _redirect_handlers(*before)
    if logs is not None:
        _set_up_logging(logs)


def name_of(function: object) -> str:
    """What to call a task: the name of its function."""
    if isinstance(function, str):
        return function
    inner = getattr(function, "func", function)  # of functools.partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).rpartition("<locals>.")[2]


class _Voice:
    """Sends what the threads of one worker write."""

    def __init__(self, worker: Worker, space: Space, fd: int) -> None:
        self.worker = worker
        self._space = space
        self._fd = fd
        self._inode = os.fstat(fd).st_ino
        self._main = get_ident()
        self._threads = _local()
        self._socket: _socket.socket | None = None  # made when something is written
        self._is_heard = True  # False once nobody made room in time
        self._kept, self._kept_until = 0, 0.0  # lines in the journal, until then

    def note(self) -> str:
        """Somebody writes: the task that does, "" for none."""
        found = in_hand()
        if found is not None:
            found.printed = True
        return self._author()[0]

    def _author(self) -> tuple[str, str]:
        """The task, and its name; no task for what is written between tasks, or by a thread that has outlived its
        own."""
        found = in_hand()
        task = None if found is None else found.task_id
        if task is not None and get_ident() != self._main:
            born: str = self._threads.__dict__.setdefault("task", task)
            task = task if born == task else None
        if task is None:
            return "", f"worker {os.getpid()}"
        assert found is not None
        function = found.function
        return task, "" if function is None else name_of(function)

    def send(self, kind: int, data: Buffer) -> None:
        """Whole lines, or part of one. Never fails, and waits for WAIT seconds at most."""
        self._keep(data)
        author = (*self._author(), os.getpid(), get_ident(), kind)
        for at in range(0, len(data), MOST_BYTES):
            if not self._put(dumps((*author, bytes(data[at : at + MOST_BYTES])))):
                self._space.tally(TALLY_LINES_LOST, max(1, bytes(data[at:]).count(b"\n")))
                return

    def _keep(self, data: Buffer) -> None:
        """Some of the lines, for whoever looks into the queue. The journal has room for few, and for failures as well,
        which must not be gone before somebody has looked."""
        now = monotonic()
        if now >= self._kept_until:
            self._kept_until, self._kept = now + 1.0, 0
        for line in bytes(data[-KEPT_BYTES:]).splitlines()[-(MOST_KEPT - self._kept) :]:
            if self._kept < MOST_KEPT and not line.isspace() and line:
                self._kept += 1
                self.worker.log(line.decode("utf-8", "replace"))

    def _put(self, packet: bytes) -> bool:
        try:
            import _socket

            if os.fstat(self._fd).st_ino != self._inode:  # a task has closed it, and opened something of its own
                return False
            if self._socket is None:
                self._socket = _socket.socket(fileno=self._fd)
            flags = _socket.MSG_NOSIGNAL if self._is_heard else _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT
            self._socket.send(packet, flags)
        except BlockingIOError:  # no room in all that time: see SO_SNDTIMEO in localq.client.output
            self._is_heard = False
            return False
        except (OSError, ImportError):  # the owner has gone, or a task has closed the descriptor
            return False
        self._is_heard = True
        return True


class _Lines(BufferedIOBase):
    """The bytes under one text stream of a worker. Sends whole lines; what each thread has begun waits for its end.

    Each thread touches only its own entry of `_begun`, so that there is no lock that a fork could inherit.
    """

    def __init__(self, voice: _Voice, kind: int) -> None:
        self._voice = voice
        self._kind = kind
        self._begun: dict[tuple[str, int], bytearray] = {}  # by task and thread
        self.name = "<stdout>" if kind == STDOUT else "<stderr>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """What the worker inherited: for programs that a task starts with its own stdout."""
        return 1 if self._kind == STDOUT else 2

    def close(self) -> None:
        """Stays open: the next task writes here too."""

    def write(self, data: Buffer) -> int:  # type: ignore[override]  # any buffer, as everywhere; its stub is narrower
        data = bytes(data)
        end = data.rfind(b"\n") + 1
        me = self._voice.note(), get_ident()
        if end:
            begun = self._begun.pop(me, None)
            self._voice.send(self._kind, data[:end] if begun is None else bytes(begun) + data[:end])
        if end < len(data):
            begun = self._begun.setdefault(me, bytearray())
            begun += data[end:]
            if len(begun) >= MOST_BYTES:
                del self._begun[me]
                self._voice.send(self._kind, begun)
        return len(data)

    def warn(self, text: str) -> None:
        """The text of a warning."""
        self._voice.note()
        self._voice.send(WARNING, text.encode("utf-8", "backslashreplace"))

    def let_out(self) -> None:
        """What is begun will not be finished: the task ends."""
        ended = self._voice.worker.task_id
        for key in [key for key in self._begun if key[0] in ("", ended)]:
            begun = self._begun.pop(key, None)
            if begun is not None:
                self._voice.send(self._kind, begun + b"\n")


def _text(lines: _Lines) -> TextIO:
    return TextIOWrapper(lines, "utf-8", "backslashreplace", newline="\n", write_through=True)


def _show_warnings_by(lines: _Lines, stderr: TextIO) -> None:
    """Warnings arrive as such, so that the same one from several workers is shown once."""

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        stream = sys.stderr if file is None else file
        if stream is stderr:
            lines.warn(text)
        else:
            stream.write(text)

    warnings.showwarning = showwarning


def _redirect_handlers(stdout: TextIO, stderr: TextIO) -> None:
    """Logging handlers that hold the streams of before write to those of now."""
    import logging

    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in [each for logger in loggers for each in getattr(logger, "handlers", ())]:
        stream = getattr(handler, "stream", None)
        if stream is not None and stream in (stdout, sys.__stdout__):
            handler.setStream(sys.stdout)
        elif stream is not None and stream in (stderr, sys.__stderr__):
            handler.setStream(sys.stderr)


def _set_up_logging(logs: Logs) -> None:
    """As the owner had it when it opened the queue. A task, or the initializer, may still change it."""
    import logging

    levels, is_stdout, level, form = logs
    for name, of_logger in levels.items():
        logging.getLogger(name).setLevel(of_logger)
    if logging.root.handlers:
        return
    handler = logging.StreamHandler(sys.stdout if is_stdout else sys.stderr)
    handler.setLevel(level)
    if form is not None:
        handler.setFormatter(logging.Formatter(*form))  # type: ignore[arg-type]  # its style is one of three
    logging.root.addHandler(handler)
