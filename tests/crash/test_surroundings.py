# SPDX-License-Identifier: MIT
"""A machine that refuses: no descriptors, no memory, no processes, a pid used again, a clock that jumps."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from localq import LayoutMismatch, LocalQueue, SpaceCorrupt
from localq._native import ROLE_WORKER, Space
from localq.pool.processes import ended_by, has_mapped, is_stopped, open_process, started_at
from localq.pool.recovery import recover
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, wait_until_staffed
from tests.support.scripts import run_script

SIZES = {
    "capacity": 16,
    "result_cache_size": 4,
    "queues": 1,
    "cpus": 1,
    "memory": 1 << 20,
    "ttl_ms": 1000,
    "identity": 1,
}


def with_limit(limit: int, soft: int) -> tuple[int, int]:
    """Lower a limit of this process; returns what to set back."""
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft, before[1]))
    return before


@pytest.mark.parametrize("room", range(14))
def test_a_queue_that_gets_too_few_descriptors_says_so_and_leaves_nothing(room):
    """Whatever is the first that can't be had; the check after each test sees what is left."""
    used = len(os.listdir("/proc/self/fd"))
    before = with_limit(resource.RLIMIT_NOFILE, used - 1 + room)
    queue = refusal = None
    try:
        queue = LocalQueue(workers=1)
    except OSError as error:
        refusal = error.errno
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    if queue is None:
        assert refusal == errno.EMFILE
        return
    with queue:
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_queue_that_gets_no_address_space_says_so(tmp_path):
    said = run_script(
        tmp_path,
        """
        import resource
        from localq import LocalQueue
        import localq.client.connection, localq.client.ownership
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
        try:
            LocalQueue(workers=1, memory="8GB")
        except OSError as error:
            print("refused:", error)
        with LocalQueue(workers=1) as q:     # by itself it asks for no more than it may have
            print(q.delay(pow, 2, 4).result())
        """,
    )
    assert said.startswith("refused: [Errno 12]")
    assert "shared memory" in said
    assert said.endswith("16\n")


def test_where_memfd_is_refused_the_queue_says_so(tmp_path):
    """A filter of system calls, as containers have them: memfd_create is not permitted."""
    said = run_script(
        tmp_path,
        """
        import ctypes, struct
        from localq import LocalQueue
        import os
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
        MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
        program = b"".join(struct.pack("HBBI", *each) for each in [
            (0x20, 0, 0, 0),                              # load the number of the call
            (0x15, 0, 1, MEMFD_CREATE),                   # is it that one?
            (0x06, 0, 0, 0x00050000 | 1),                 # then EPERM
            (0x06, 0, 0, 0x7FFF0000),                     # else go on
        ])
        libc = ctypes.CDLL(None, use_errno=True)
        code = ctypes.create_string_buffer(program)
        filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0) == 0, ctypes.get_errno()
        try:
            LocalQueue(workers=1)
        except OSError as error:
            print(type(error).__name__, error)
        """,
    )
    assert "PermissionError" in said
    assert "shared memory" in said


def test_workers_that_cannot_be_forked_are_started_once_they_can(tmp_path):
    """The supervisor runs into a limit of descriptors while it replaces workers, and out of it again."""
    with LocalQueue(workers=2, max_retries=3) as queue:
        workers = wait_until_staffed(queue)
        supervisor = int(Path(f"/proc/{workers[0]}/stat").read_text().rpartition(")")[2].split()[1])
        before = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{supervisor}/fd")) - 2, before[1]))
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        future = queue.delay(tasks.same, 1)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, before)

        assert future.result(PATIENCE) == 1
        wait_until_staffed(queue)
        audit(queue)


def test_an_arena_that_is_exhausted_makes_submitters_wait_and_never_hang():
    with LocalQueue(workers=1, memory="4MB", result_cache_size=0) as queue:
        futures = [queue.delay(len, bytes(900_000)) for _ in range(50)]

        assert [future.result(PATIENCE) for future in futures] == [900_000] * 50
        with pytest.raises(MemoryError, match="larger memory"):
            queue.delay(len, bytes(50_000_000))
        audit(queue)


# ---- processes


def test_a_pid_that_is_used_again_is_not_taken_for_the_process_that_had_it():
    own = started_at(os.getpid())
    assert own > 0
    pidfd = open_process(os.getpid(), own)
    assert pidfd is not None
    assert not ended_by(pidfd)
    os.close(pidfd)

    assert open_process(os.getpid(), own - 1) is None  # an earlier process of that number


def test_a_row_whose_pid_belongs_to_another_process_by_now_is_recovered_and_that_one_is_left_alone():
    space = Space.create(**SIZES)
    label = space.join(ROLE_WORKER, os.getpid(), started_at(os.getpid()) - 5)
    (row,) = space.rows()

    assert open_process(row["pid"], row["started"]) is None
    assert recover(space, label, label, 0).is_complete
    assert space.rows() == []


def test_what_is_known_of_a_process_is_what_the_kernel_says():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    started = started_at(pid)
    pidfd = open_process(pid, started)
    assert pidfd is not None
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    assert is_stopped(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended_by(pidfd)  # also while nobody has waited for it
    assert not is_stopped(pid)
    os.waitpid(pid, 0)
    assert (started_at(pid), open_process(pid, started)) == (0, None)
    assert not has_mapped(pid, 1)
    os.close(pidfd)


def test_who_maps_the_memory_is_known():
    space = Space.create(**SIZES)
    inode = os.fstat(space.fds[0]).st_ino

    assert has_mapped(os.getpid(), inode)
    del space
    assert not has_mapped(os.getpid(), inode)


# ---- a foreign or damaged Space


def test_a_space_of_another_version_is_named_and_not_touched():
    space = Space.create(**SIZES)
    fd = os.dup(space.fds[0])
    os.pwrite(fd, (99).to_bytes(4, "little"), 8)
    try:
        with pytest.raises(LayoutMismatch):
            Space.open(os.dup(space.fds[0]), os.dup(space.fds[1]))
        assert int.from_bytes(os.pread(fd, 4, 8), "little") == 99
    finally:
        os.close(fd)


def test_a_file_that_is_no_space_is_refused(tmp_path):
    fd = os.memfd_create("other", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, 1 << 20)
    with pytest.raises(SpaceCorrupt):
        Space.open(fd, os.dup(fd))


def test_no_time_is_taken_from_a_clock_that_can_jump():
    """Results expire, naps end and back-offs pass by CLOCK_MONOTONIC alone; wall time is only shown."""
    native = Path(__file__).parents[2] / "native"
    spoken = {line for path in native.glob("*.[ch]") for line in path.read_text().splitlines() if "CLOCK_" in line}
    assert spoken
    assert not [line for line in spoken if "REALTIME" in line]
    package = Path(__file__).parents[2] / "localq"
    users = {path for path in package.rglob("*.py") if "time.time()" in path.read_text()}
    counting = {path.name for path in users if path.parent.name not in ("monitor", "cli")}  # those show it
    # where a result or an update says when it was, or a queue when it was opened, and where an `eta` becomes a time
    # of the clock that does not jump
    assert counting <= {"reading.py", "updates.py", "options.py", "brief.py"}, users
