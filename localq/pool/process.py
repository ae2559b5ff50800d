# SPDX-License-Identifier: MIT
"""Start the supervisor and see it end.

Used by the client. The supervisor is executed as a clean Python, so that no thread, lock or device context of the
client is ever forked; with `start_method="fork"` it is forked from the client instead and inherits its globals.
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enums of all its numbers, which costs as much as our own imports together
import os
import select
import sys
import time
from fcntl import F_DUPFD_CLOEXEC, fcntl

from localq.errors import ConfigError, SerializationError
from localq.pool.brief import KILL, LOOK, Brief
from localq.pool.processes import is_stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from localq._native import Space
    from localq.config import QueueConfig
    from localq.pool.brief import Logs
    from localq.pool.doorway import Doorway

__all__ = ["Starter", "SupervisorProcess", "keep_clear"]

# Libraries that start a thread per processor unless told otherwise before they are imported.
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

STOP_SECONDS = 2.0  # a supervisor answers within milliseconds, unless it is stopped or imports something just now
LOOK_SECONDS = 0.1  # until somebody who does not answer is looked at

_MAIN = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from localq.pool.supervisor import main; main({control}, {payload}, {brief}, {hear}, {tell}, {door})"
)


def _brief_of(config: QueueConfig, door: Doorway | None, output: int) -> Brief:
    """The part of the configuration that concerns the supervisor. Raises SerializationError for the initializer."""
    brief = Brief()
    brief.began_ns = time.monotonic_ns()
    brief.owner_pid = os.getpid()
    brief.cwd = _cwd()
    brief.initializer = _encode_initializer(config)
    brief.logs = _logs() if output >= 0 and "logging" in sys.modules else None
    brief.output = output
    brief.sys_path = [path and os.path.abspath(path) for path in sys.path]  # '' stays: it means wherever one is
    if config.task_modules and brief.cwd is not None and not {"", brief.cwd}.intersection(brief.sys_path):
        brief.sys_path.insert(0, brief.cwd)
    brief.socket = None if door is None else (door.path, door.inode)
    for name in Brief.__slots__:
        if not hasattr(brief, name):
            setattr(brief, name, getattr(config, name))
    return brief


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the folder was removed; the supervisor then stays where it starts
        return None


def _encode_initializer(config: QueueConfig) -> tuple[int, bytes, bytes] | Callable[[], object] | None:
    initializer, arguments = config.initializer, config.initargs
    if initializer is None:
        return None
    if config.start_method == "fork":  # inherited as it is: locks and queues of multiprocessing travel no other way
        return lambda: initializer(*arguments)
    from localq.functions import encode_function
    from localq.pickling import blame
    from localq.pickling import dumps as dumps_by_value

    kind, function = encode_function(initializer)
    try:
        return kind, function, dumps_by_value(arguments)
    except Exception as error:
        culprit = blame(arguments)
        if culprit is None:  # it passes when tried again
            raise
        raise SerializationError(
            "initargs", culprit.path, culprit.type_name, f"{culprit.reason}; start_method='fork' would inherit it"
        ) from error


def _logs() -> Logs | None:
    """How this program logs, if its root logger writes to stdout or stderr; other handlers can't travel."""
    import logging

    for handler in logging.root.handlers:
        stream = getattr(handler, "stream", None)
        if stream is None or stream not in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            continue
        loggers = {"": logging.root, **logging.root.manager.loggerDict}
        levels: dict[str, int] = {name: level for name, each in loggers.items() if (level := getattr(each, "level", 0))}
        form = handler.formatter
        told = None if form is None else (form._fmt, form.datefmt, _style_of(form))
        return levels, stream in (sys.stdout, sys.__stdout__), handler.level, told
    return None


def _style_of(form: logging.Formatter) -> str:
    kinds = {"StrFormatStyle": "{", "StringTemplateStyle": "$"}
    return kinds.get(type(form._style).__name__, "%")


class SupervisorProcess:
    """The supervisor as its parent sees it: a pid to wait for, and two pipes. It ends when the one to it is closed."""

    def __init__(self, pid: int, tell: int, hear: int) -> None:
        self.pid = pid
        self._parent = os.getpid()
        self._tell = tell
        self._hear = hear
        self._status: int | None = None
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:  # no descriptor left: nobody could see it end
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def is_alive(self) -> bool:
        """False once the kernel says that it has ended. Never waits."""
        return self._status is None and not self.wait(0.0)

    def wait(self, timeout: float | None) -> bool:
        """Wait for its end, `timeout` seconds at most (None: as long as it takes). True if it has ended."""
        if self._status is not None:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return False
        try:
            self._status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:  # somebody else in this program reaps all children
            self._status = 0
        return True

    @property
    def exit_status(self) -> int | None:
        """As os.waitstatus_to_exitcode has it: minus the signal's number if one killed it. None while it lives."""
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def call(self, word: bytes = LOOK) -> None:
        """Make it look at the phase of the Space, or (KILL) end at once."""
        # A program may have SIGPIPE end it, as tools in a shell's pipeline do; that it is gone is none of its business.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            os.write(self._tell, word)
        except BrokenPipeError:
            if signal.SIGPIPE not in mask:
                signal.sigtimedwait({signal.SIGPIPE}, 0)
        except OSError:  # so full of calls that it will look anyway
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def stop(self, patience: float) -> None:
        """See it end: by itself, now that the phase says so; after `patience` seconds by a word that makes it kill its
        workers; and if it does not even hear that, by force."""
        self.call()
        if patience and self._wait_unless_stopped(patience):
            return
        self.hang_up()
        if not self._wait_unless_stopped(STOP_SECONDS):
            self.kill()
            self.wait(None)

    def _wait_unless_stopped(self, patience: float) -> bool:
        """Whether it ended in that time. One that was stopped (SIGSTOP) will not: that is found out early."""
        first = min(patience, LOOK_SECONDS)
        if self.wait(first):
            return True
        return not is_stopped(self.pid) and self.wait(patience - first)

    def hang_up(self) -> None:
        """End it: it kills its workers when told so, or when nobody holds this end of the pipe any more. (A child that
        was forked from this process may hold it still.)"""
        if self._tell >= 0:
            self.call(KILL)
            os.close(self._tell)
            self._tell = -1

    def news(self) -> bytes | None:
        """What it has to say, if anything."""
        try:
            return os.read(self._hear, 1 << 16) or None
        except OSError:
            return None

    def kill(self) -> None:
        """End it and, with it, its workers, at once."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def abandon(self) -> None:
        """Kill it and let go of everything, before it was of any use."""
        self.kill()
        self.wait(None)
        self.close()

    def __del__(self) -> None:
        """Whoever started it was interrupted before it could keep it. (In a child that was forked from its parent it is
        only a memory.)"""
        if getattr(self, "pidfd", -1) >= 0 and self._parent == os.getpid():
            self.abandon()

    def close(self) -> None:
        """Let go of everything. If it still lives, it ends now."""
        self.hang_up()
        for fd in (self._hear, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self._hear = self.pidfd = -1


class Starter:
    """Starts the supervisor of a Space, the first one and each that takes the place of one that was lost. They are all
    told the same, and see the environment that the owner had in the beginning."""

    def __init__(self, space: Space, config: QueueConfig, door: Doorway | None, output: int = -1) -> None:
        """`output`: the socket by which workers send what tasks write. Raises SerializationError: the initializer can't
        travel."""
        self._space = space
        self._brief = _brief_of(config, door, output)
        self._door = -1 if door is None else door.fd
        self._start = _fork if config.start_method == "fork" else _execute
        self._environment = _environment(config.threads_per_worker)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def start(self) -> SupervisorProcess:
        """Returns before it is up.

        Raises:
            ConfigError: there is no interpreter to execute.
            OSError: the system refuses a process, a pipe or memory.
        """
        their_ear, our_voice = _pipe()
        ours = theirs = None
        try:
            our_ear, their_voice = _pipe()
            ours, theirs = (our_ear, our_voice), (their_ear, their_voice)
            return self._start_with(ours, theirs)
        except BaseException:
            for fd in ours or (our_voice,):
                os.close(fd)
            raise
        finally:
            for fd in theirs or (their_ear,):
                os.close(fd)

    def _start_with(self, ours: Ends, theirs: Ends) -> SupervisorProcess:
        # Ctrl-C has to wait until somebody holds the new process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = self._start(self._space, self._brief, ours, theirs, self._door, self._mask, self._environment)
            return SupervisorProcess(pid, ours[1], ours[0])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _pipe() -> tuple[int, int]:
    """Neither end may ever wait, nor be 0, 1 or 2: a program whose standard streams are closed may use those anew."""
    ear, voice = (keep_clear(fd) for fd in os.pipe())
    os.set_blocking(ear, False)
    os.set_blocking(voice, False)
    return ear, voice


def keep_clear(fd: int) -> int:
    """The same descriptor, but not one of the standard three: those may be closed here, and are used there."""
    if fd > 2:
        return fd
    moved = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


Ends = tuple[int, int]  # of two pipes: the one to hear by, the one to tell by


def _execute(
    space: Space, brief: Brief, ours: Ends, theirs: Ends, door: int, mask: set[int], environment: dict[str, str]
) -> int:
    if not sys.executable:
        raise ConfigError("this Python has no sys.executable to start the supervisor with; use start_method='fork'")
    control, payload = space.fds
    told = keep_clear(os.memfd_create("localq-brief", os.MFD_CLOEXEC))
    try:
        _write_all(told, brief.to_bytes())
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        program = _MAIN.format(
            root=root, control=control, payload=payload, brief=told, hear=theirs[0], tell=theirs[1], door=door
        )
        fds = [fd for fd in (control, payload, told, *theirs, door, brief.output) if fd >= 0]
        handed = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]  # clears CLOEXEC
        nothing = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]  # a task must not read the client's input
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *_interpreter_flags(), "-c", program],
            environment,
            file_actions=nothing + handed,
            setpgroup=0,  # Ctrl-C is for the client: it decides what ends
            setsigmask=mask,
            setsigdef=signal.valid_signals(),
        )
    finally:
        os.close(told)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _environment(threads: int | None) -> dict[str, str]:
    environment = dict(os.environ)
    if threads is not None:
        for name in THREAD_LIMITS:
            environment.setdefault(name, str(threads))  # what the user has set is meant
    return environment


def _interpreter_flags() -> list[str]:
    """How this interpreter was started, as far as it matters to the code that runs in workers."""
    flags = ["-P"]  # nothing from the working directory before sys.path is set to the client's
    flags += ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    flags += [f"-W{option}" for option in sys.warnoptions]
    flags += ["-Xdev"] if sys.flags.dev_mode else []
    flags += [f"-Xutf8={sys.flags.utf8_mode}"]
    return flags


def _fork(
    space: Space, brief: Brief, ours: Ends, theirs: Ends, door: int, mask: set[int], environment: dict[str, str]
) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        for fd in ours:
            os.close(fd)
        os.environ.update(environment)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # not before: what comes is not for the owner's handlers
        from localq.pool.supervisor import run_supervisor

        run_supervisor(space, brief, *theirs, door)
    except BaseException:  # noqa: BLE001 - shown as an interpreter shows it; this process must not become a second client
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)  # run_supervisor never returns
