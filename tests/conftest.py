# SPDX-License-Identifier: MIT
"""After every test: no process, thread, descriptor or shared memory that was not there before it.

A queue that leaks leaks quietly; here the test that did it fails, by name, with what it left. The check waits for
things that are on their way out (a worker takes a moment to end) and takes along what stays, so that one culprit does
not make suspects of all the tests after it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
import traceback
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from localq.addresses import queue_names
from tests.support.waiting import eventually

GRACE = 5.0  # seconds for the last to leave; DESIGN promises one second for workers whose client died
MARK = "LOCALQ_TEST_RUN"  # in the environment of every process that this run starts, however far it strays
RUN = uuid.uuid4().hex

#: Opened once a process by the interpreter or by a library, and kept on purpose.
KEPT_OPEN = ("/dev/urandom", "/dev/random")

# Whoever starts the tests in the background of a shell, or by nohup, has them ignore signals that some are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

failed_key = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Belongings:
    """What a process has at one moment. Keys tell two of a kind apart, values are for people."""

    pids: frozenset[int]  # every process of the machine: later, only those that are not in here are looked at
    descriptors: dict[tuple[int, str], str]
    threads: dict[str, str]
    mappings: dict[str, str]
    shared_files: frozenset[str]
    sockets: frozenset[str]
    numpy_is_loaded: bool

    @classmethod
    def now(cls) -> Belongings:
        return cls(
            pids=frozenset(int(name) for name in os.listdir("/proc") if name.isdecimal()),
            descriptors=_descriptors(),
            threads=_threads(),
            mappings=_memfd_mappings(),
            shared_files=frozenset(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else frozenset(),
            sockets=frozenset(queue_names()),
            numpy_is_loaded="numpy" in sys.modules,
        )


def _descriptors() -> dict[tuple[int, str], str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed the folder
            continue
        if target not in KEPT_OPEN:
            found[int(name), target] = f"descriptor {name}: {target}"
    return found


def _threads() -> dict[str, str]:
    """By the kernel's thread id, so that threads of C code, which `threading` does not know, count too. Those that have
    names count by them: a queue's guard ends before a fork, and another one comes after it."""
    of_python = {thread.native_id: thread for thread in threading.enumerate()}
    found: dict[str, str] = {}
    for name in os.listdir("/proc/self/task"):
        thread = of_python.get(int(name))
        if thread is None:
            found[name] = f"thread {name}, not started by Python"
            continue
        number = sum(key.startswith(f"{thread.name}#") for key in found)
        found[f"{thread.name}#{number}"] = f"thread {thread.name!r}"
    return found


def _memfd_mappings() -> dict[str, str]:
    """A Space that is still mapped lives on after its descriptors are closed."""
    found = {}
    with open("/proc/self/maps") as lines:
        for line in lines:
            if "/memfd:" in line:
                _range, _mode, _offset, _device, inode, name = line.split(maxsplit=5)
                found[inode] = f"mapped memory: {name.strip()}"
    return found


def _is_of_this_run(process: psutil.Process, before: Belongings) -> bool:
    """Whether a test started it, directly or not. A worker of an older, living supervisor belongs to that one.

    Orphans are not among our descendants any more; those that were exec'd are known by their environment, those that
    were forked from us by being our exact twin with the machine's first process as parent.
    """
    own = os.getpid()
    lineage = [parent.pid for parent in process.parents()]
    if own in lineage:
        return before.pids.isdisjoint(lineage[: lineage.index(own)])
    if _has_mark(process.pid):
        return not (process.ppid() in before.pids and _has_mark(process.ppid()))
    if process.ppid() != 1 or process.cmdline() != psutil.Process().cmdline():
        return False
    return _environment(process.pid) == _environment(own)


def _has_mark(pid: int) -> bool:
    return f"{MARK}={RUN}".encode() in _environment(pid).split(b"\0")


def _environment(pid: int) -> bytes:
    """What the process was exec'd with; empty when it is gone or not ours to read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _new_processes(before: Belongings) -> list[psutil.Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in before.pids:
            try:
                process = psutil.Process(int(name))
                if _is_of_this_run(process, before):
                    found.append(process)
            except psutil.Error:  # ended while we looked
                continue
    return found


def _describe(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())[:200] or process.name()
        return f"process {process.pid} ({process.status()}, child of {process.ppid()}): {command}"
    except psutil.ZombieProcess:
        return f"process {process.pid}, which ended and was never waited for by its parent, {process.ppid()}"
    except psutil.Error:
        return f"process {process.pid}, which ended by itself just now"


def left_behind(before: Belongings) -> list[str]:
    """One line for each thing that is here now and was not `before`."""
    now = Belongings.now()
    lines = [_describe(process) for process in _new_processes(before)]
    lines += [text for key, text in now.descriptors.items() if key not in before.descriptors]
    # numpy's first import in a process starts the threads of its linear algebra, and keeps them
    if now.numpy_is_loaded == before.numpy_is_loaded:
        lines += [text for key, text in now.threads.items() if key not in before.threads]
    lines += [text for key, text in now.mappings.items() if key not in before.mappings]
    lines += [f"file /dev/shm/{name}" for name in sorted(now.shared_files - before.shared_files)]
    lines += [f"socket of queue {name!r}" for name in sorted(now.sockets - before.sockets)]
    return lines


def _stacks(before: Belongings) -> str:
    """Where other threads stand, those that were left among them."""
    frames = sys._current_frames()
    shown = []
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.ident in frames:
            shown.append(f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}")
    return "\n".join(shown)


def _take_along(before: Belongings) -> None:
    """End the processes that were left. Only they can be taken from outside; and only they grow."""
    for process in _new_processes(before):
        try:
            process.send_signal(signal.SIGKILL)
            process.wait(GRACE)
        except psutil.Error:
            continue


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[failed_key] = report.failed
    return report


@pytest.fixture(autouse=True, scope="session")
def _mark_of_this_run() -> Iterator[None]:
    os.environ[MARK] = RUN
    # Two runs at once must not find each other's queues, which have names. A short path: a socket's address is.
    with tempfile.TemporaryDirectory(prefix="localq-run-") as folder:
        os.environ["LOCALQ_RUNTIME_DIR"] = folder
        yield
        del os.environ["LOCALQ_RUNTIME_DIR"]
    del os.environ[MARK]


def _left_by_a_test(before: Belongings) -> list[str]:
    """What `left_behind` says. Of tests that run side by side (`-n 2`) none can be told from the others by a name in
    /dev/shm: those files are counted at the end of the run."""
    lines = left_behind(before)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return lines
    return [line for line in lines if not line.startswith("file /dev/shm/")]


shared_files_key = pytest.StashKey[frozenset[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.stash[shared_files_key] = Belongings.now().shared_files


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The whole run leaves no file in shared memory. Asked by the one that starts the others, if there are any."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    before = session.stash[shared_files_key]
    left = Belongings.now().shared_files - before
    if left:
        print(f"\nthe run left in /dev/shm: {', '.join(sorted(left))}", file=sys.stderr)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves something, after a grace; says nothing more where the test failed by itself."""
    before = Belongings.now()
    yield
    if not _left_by_a_test(before):
        return
    if isinstance(request.node, pytest.Function):
        request.node.funcargs.clear()  # a queue of a fixture that has ended
    gc.collect()  # a cycle may hold a queue, as anywhere in Python
    # A failed test's traceback keeps its queue alive, so there is nothing to wait for.
    failed = request.node.stash.get(failed_key, False)
    try:
        eventually(lambda: not _left_by_a_test(before), within=0 if failed else GRACE)
        return
    except AssertionError:
        lines, stacks = _left_by_a_test(before), _stacks(before)
    _take_along(before)
    if lines and not failed:
        pytest.fail("left behind:\n  " + "\n  ".join(lines) + ("\n" + stacks if stacks else ""), pytrace=False)
