# SPDX-License-Identifier: MIT
"""The check after every test sees each kind of thing that a test can leave, and names it."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.conftest import Belongings, left_behind
from tests.support.waiting import eventually

SLEEPER = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
FORK_THE_SLEEPER = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL).pid)"


@contextmanager
def a_child() -> Iterator[str]:
    with subprocess.Popen(SLEEPER) as process:
        yield f"process {process.pid} "
        process.kill()


@contextmanager
def a_child_nobody_waits_for() -> Iterator[str]:
    pid = os.posix_spawn("/bin/true", ["true"], os.environ)
    yield f"process {pid}, which ended and was never waited for"
    os.waitpid(pid, 0)


@contextmanager
def an_orphan() -> Iterator[str]:
    pid = int(subprocess.check_output([sys.executable, "-I", "-S", "-c", FORK_THE_SLEEPER, *SLEEPER]))
    yield f"process {pid} "
    os.kill(pid, signal.SIGKILL)


@contextmanager
def a_forked_orphan() -> Iterator[str]:
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        orphan = os.fork()
        if orphan == 0:
            os.close(write_end)
            signal.pause()
        os.write(write_end, str(orphan).encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(middle, 0)
    pid = int(os.read(read_end, 20))
    os.close(read_end)
    yield f"process {pid} "
    os.kill(pid, signal.SIGKILL)


@contextmanager
def a_thread() -> Iterator[str]:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="straggler")
    thread.start()
    yield "thread 'straggler'"
    done.set()
    thread.join()


@contextmanager
def a_descriptor() -> Iterator[str]:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    yield f"descriptor {descriptor}: /dev/null"
    os.close(descriptor)


@contextmanager
def mapped_memory() -> Iterator[str]:
    descriptor = os.memfd_create("a-space")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    memory = mmap.mmap(descriptor, mmap.PAGESIZE)
    os.close(descriptor)
    yield "mapped memory: /memfd:a-space"
    memory.close()


@contextmanager
def a_shared_file() -> Iterator[str]:
    path = f"/dev/shm/localq-test-{os.getpid()}"
    with open(path, "w"):
        pass
    yield f"file {path}"
    os.unlink(path)


@pytest.mark.parametrize(
    "leak",
    [
        a_child,
        a_child_nobody_waits_for,
        an_orphan,
        a_forked_orphan,
        a_thread,
        a_descriptor,
        mapped_memory,
        a_shared_file,
    ],
)
def test_what_a_test_leaves_is_named_until_it_is_gone(leak: Callable[[], AbstractContextManager[str]]) -> None:
    before = Belongings.now()

    with leak() as expected:
        eventually(lambda: any(expected in line for line in left_behind(before)), what=f"{expected!r} is named")

    eventually(lambda: not left_behind(before), what="nothing is left")


def test_a_test_that_leaves_nothing_is_not_accused() -> None:
    before = Belongings.now()
    thread = threading.Thread(target=time.monotonic)
    thread.start()
    thread.join()
    subprocess.run(["true"], check=True)

    assert left_behind(before) == []


def test_eventually_says_what_it_waited_for_and_what_came_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon; it last answered 0"):
        eventually(lambda: 0, within=0, what="the moon")
    with pytest.raises(AssertionError, match=r"it raised KeyError\('NOTHING'\)") as caught:
        eventually(lambda: os.environ["NOTHING"], within=0)
    assert isinstance(caught.value.__cause__, KeyError)
