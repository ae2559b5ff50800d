# SPDX-License-Identifier: MIT
"""What is seen: by the owner of itself and its queue at rest, from outside of all processes, and of a stall."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from localq import LocalQueue
from localq._native import ROLE_CLIENT, ROLE_SPARE, ROLE_WORKER, Space
from localq.client.ownership import Ownership
from localq.pool.processes import is_stopped

MARK = "LOCALQ_SOAK_RUN"  # in the environment of every process that a soak starts, however far it strays
BUSY = ("queued", "claimed", "running", "done", "cancelled")  # states of slots, of which a queue at rest has none
SETTLE = 10.0  # seconds for what is on its way out
PAUSE = 0.05
OF_A_SPARE = ("anon_inode:[pidfd]", "pipe", "pipe")  # its supervisor's descriptors for it


def inspect(queue: LocalQueue, clients: float) -> dict[str, Any]:
    """In the owner, while all members rest and `clients` are attached: what it and the queue hold. Waits for what is on
    its way out; what stays is in `problems`."""
    until = time.monotonic() + SETTLE
    while True:
        problems = _problems(queue, int(clients))
        if not problems or time.monotonic() > until:
            break
        time.sleep(PAUSE)
    time.sleep(PAUSE)
    again = _problems(queue, int(clients))  # an audit beside live users counts only when it says the same twice
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free is not held, wherever it lies
    return {
        "problems": [each for each in problems if each in again],
        "slots": queue._space.slots(),
        "tallies": queue._space.tallies,
        "arena": list(queue._space.arena()),
        "memory": anonymous_bytes(os.getpid()),
        "fds": descriptors(os.getpid()),
        "threads": len(os.listdir("/proc/self/task")),
        "supervisor_fds": _supervisor_fds(queue),
        "supervisor_memory": anonymous_bytes(_supervisor(queue)),
        "children": sorted(_children(os.getpid())),
        "phase": queue._space.phase,
        "waiting": queue._client.waiting,
        "pending": queue._client.pending,
        "watched": queue._client.watched,
    }


def _supervisor(queue: LocalQueue) -> int:
    hold = queue._connection.hold
    assert isinstance(hold, Ownership)
    return hold.supervisor_pid


def _problems(queue: LocalQueue, clients: int) -> list[str]:
    space = queue._space
    queue._client.reap()
    slots, rows = space.slots(), space.rows()
    found = [f"{slots[state]} slots are {state}" for state in BUSY if slots[state]]
    found += [f"audit: {what} {index}: word {word:016x}" for what, index, word, _ in space.audit()]
    attached = sum(row["role"] == ROLE_CLIENT for row in rows) - 1
    if attached != clients:
        found.append(f"{attached} clients are attached instead of {clients}")
    ready = [row["pid"] for row in rows if row["role"] == ROLE_WORKER and row["live"] and row["ready"]]
    if len(ready) != queue.config.workers or any(row["role"] == ROLE_WORKER and not row["live"] for row in rows):
        found.append(f"there are {len(ready)} ready workers instead of {queue.config.workers}, or dead ones")
    if sum(map(sum, space.depths())):
        found.append(f"rings hold entries: {space.depths()}")
    held = space.arena()[0] - _lent(queue)
    if not clients and held:
        found.append(f"{held} bytes of the arena are held, and nobody holds anything: {space.holdings()}")
    if queue._client.pending or queue._client.waiting or queue._client.watched:
        found.append(f"the owner has {queue._client.pending} pending, {queue._client.waiting} waiting futures")
    spares = _spares(queue)
    if len(_children(os.getpid())) != 1 or sorted(_children(_supervisor(queue))) != sorted(ready + spares):
        found.append(
            f"children {_children(os.getpid())}, of the supervisor {_children(_supervisor(queue))}, "
            f"ready {ready}, spares {spares}"
        )
    if len(spares) > queue.config.workers or (spares and queue.config.max_tasks_per_child is None):
        found.append(f"there are {len(spares)} spares for {queue.config.workers} workers")
    return found


def _lent(queue: LocalQueue) -> int:
    """Bytes that the owner keeps for a supervisor that was forked while it looked at them."""
    if queue.config.start_method != "fork":
        return 0
    rows = [row["row"] for row in queue._space.rows() if row["pid"] == os.getpid() and row["role"] == ROLE_CLIENT]
    return sum(queue._space.pinned_by(row)[1] for row in rows)


def _spares(queue: LocalQueue) -> list[int]:
    return [row["pid"] for row in queue._space.rows() if row["role"] == ROLE_SPARE and row["live"]]


def _supervisor_fds(queue: LocalQueue) -> list[str]:
    """Its descriptors, without those for spares: how many of these there are depends on the moment."""
    while True:
        spares, fds = _spares(queue), descriptors(_supervisor(queue))
        if spares == _spares(queue):
            break
    for each in OF_A_SPARE * len(spares):
        if each in fds:
            fds.remove(each)
    return fds


def _children(pid: int) -> list[int]:
    found = []
    for thread in _listed(f"/proc/{pid}/task"):
        found += [int(child) for child in _text(f"/proc/{pid}/task/{thread}/children").split()]
    return found


def anonymous_bytes(pid: int) -> int:
    """Memory of its own that a process has, in bytes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", _text(f"/proc/{pid}/status"))
    return int(found[1]) * 1024 if found else 0


def descriptors(pid: int) -> list[str]:
    """What each open descriptor is, without numbers of inodes."""
    found = []
    for name in _listed(f"/proc/{pid}/fd"):
        try:
            found.append(re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/{pid}/fd/{name}")))
        except OSError:  # the one that listed them
            continue
    return sorted(found)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


# ---- from outside


def marked(run: str) -> list[int]:
    """The processes of a run that live, whoever started them."""
    mark = f"{MARK}={run}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:
                continue
    return [pid for pid in found if _state(pid) not in "ZX"]


def mapping(inode: int) -> list[int]:
    """The processes that map the memory of that inode."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and f" {inode} " in _text(f"/proc/{name}/maps"):
            found.append(int(name))
    return found


def _state(pid: int) -> str:
    return (_text(f"/proc/{pid}/stat").rpartition(")")[2].split() or ["X"])[0]


def within(seconds: float, condition: Callable[[], bool]) -> float | None:
    """How long it took until the condition was true; None when it was not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.005)
    return time.monotonic() - began


def describe(pid: int) -> str:
    """One line about a process."""
    command = _text(f"/proc/{pid}/cmdline").replace("\0", " ")[:150]
    return f"{pid} ({_text(f'/proc/{pid}/comm').strip()}) {_state(pid)}: {command}"


def dump(path: Path, space: Space | None, pids: Iterable[int]) -> None:
    """Write down all that can be seen of a queue that does not go on, and of all its processes."""
    lines = []
    if space is not None:
        reads: dict[str, Callable[[], object]] = {
            "phase": lambda: space.phase, "slots": space.slots, "depths": space.depths, "arena": space.arena,
            "tallies": lambda: space.tallies, "audit": space.audit, "holdings": space.holdings,
        }  # fmt: skip
        for name, read in reads.items():
            lines.append(f"{name}: {read()}")
        lines += [f"row: {row}, pins (blocks, bytes): {space.pinned_by(row['row'])}" for row in space.rows()]
    for pid in pids:
        lines.append(f"\nprocess {describe(pid)}, {'stopped' if is_stopped(pid) else 'not stopped'}")
        for thread in _listed(f"/proc/{pid}/task"):
            task = f"/proc/{pid}/task/{thread}"
            lines.append(f"  thread {thread} {_text(task + '/comm').strip()} wchan {_text(task + '/wchan')}")
            lines.append("    " + _text(task + "/syscall").strip())
        lines.append(_stacks_of(pid))
    path.write_text("\n".join(lines) + "\n")


def _stacks_of(pid: int) -> str:
    if "soak.member" in _text(f"/proc/{pid}/cmdline"):
        try:
            os.kill(pid, signal.SIGUSR2)  # faulthandler's, to the member's stderr
        except OSError:
            pass
    gdb = shutil.which("gdb")
    if gdb is None:
        return ""
    command = [gdb, "-batch", "-nx", "-p", str(pid), "-ex", "thread apply all bt 14"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout[-6000:]
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"gdb: {error}"
