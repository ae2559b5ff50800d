# SPDX-License-Identifier: MIT
"""Which queues this user has, and how each of them is: every socket in the runtime folder, and what is behind it.

Used by `localq doctor`. It only looks: running queues are read through memory that it can't write. The one thing it
may remove, and only when told to, is a socket at which provably nobody listens. What looks mean is decided in
`localq.monitor.diagnosis`.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from stat import S_ISSOCK
from typing import TYPE_CHECKING, Any

import msgspec

from localq._native import PHASE_STOPPED
from localq.addresses import address_of, make_runtime_dir, queue_names, runtime_dir
from localq.config import is_name
from localq.errors import AttachError, ConfigError, LayoutMismatch, SpaceCorrupt
from localq.monitor.diagnosis import Finding, Severity, Sizes, diagnose, is_healthy, supervisor_stopped
from localq.monitor.looks import Condition, Look, Role, condition_of, take_look
from localq.pool.attach import NoAnswer, Reached, listener_at, reach
from localq.pool.doorway import is_stale, remove_stale

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Examined", "NoSuchQueue", "Process", "Readings", "State", "as_data", "examine", "examine_all"]

LOOKS = 3  # as many must agree before anything is said
PAUSE = 0.25  # seconds between two of them: half a second is long for whoever is only about to do something
SEVERAL = 8  # queues examined at once: most of the time is waiting


class NoSuchQueue(AttachError):
    """There is no socket of that name."""


class State(StrEnum):
    """What is behind a socket."""

    RUNNING = "running"
    ENDED = "ended"  # while it was looked at
    SILENT = "silent"  # somebody listens and does not answer
    STALE = "stale"  # nobody listens
    FOREIGN = "foreign"  # no queue, or none that this version of localq can read


class Process(msgspec.Struct, frozen=True):
    """A process, for people."""

    pid: int
    command: str


class Looking(msgspec.Struct, frozen=True):
    """A process that looks at blocks of the arena: at arguments, results, shared values, arrays."""

    pid: int
    role: str
    blocks: int
    bytes: int  # of the blocks; what two processes look at counts for both


class Readings(msgspec.Struct, frozen=True):
    """Numbers of a running queue, as seen last. Sizes are bytes."""

    supervisor_pid: int
    workers: int  # as many as there should be
    workers_alive: int
    workers_busy: int
    clients: list[int]  # process ids, the owner's among them
    queued: dict[str, int]  # by the names of its queues
    running: int
    unread: int  # results that clients have not picked up
    kept: int  # results that stay readable
    capacity: int
    memory: int
    memory_held: int
    memory_warm: int
    memory_by: dict[str, int]  # arguments, results, functions, kept, pinned, owned, idle; see `Space.holdings`
    looking: list[Looking]  # the most memory first
    tallies: dict[str, int]


class Examined(msgspec.Struct, frozen=True):
    """What became of one name."""

    name: str
    path: str
    state: State
    findings: list[Finding]
    owner: Process | None = None
    readings: Readings | None = None
    looks: int = 0
    seconds: float = 0.0  # from the first look to the last
    removed: bool = False  # the stale socket

    @property
    def is_healthy(self) -> bool:
        return is_healthy(self.findings)


def examine_all(names: Iterable[str], timeout: float, clean: bool = False) -> list[Examined]:
    """Those queues, or all that this user has when `names` is empty. `timeout`: seconds for each. `clean`: remove stale
    sockets.

    Raises:
        ConfigError: what is no name.
        NoSuchQueue: a name of which there is no socket.
        AttachError: the folder is not this user's alone.
    """
    from concurrent.futures import ThreadPoolExecutor

    if os.path.exists(runtime_dir()):
        make_runtime_dir()  # which looks whose it is
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        _check_there(name)
    # what is no name was not made by a queue
    there = wanted or [name for name in queue_names() if is_name(name)]
    if not there:
        return []
    with ThreadPoolExecutor(min(SEVERAL, len(there))) as several:
        found = several.map(lambda name: examine(name, timeout, clean), there)
        return [each for each in found if each is not None]


def _check_there(name: str) -> None:
    if not is_name(name):
        raise ConfigError(f"a queue's name has letters, digits, _ . and -; got {name!r}")
    if not os.path.lexists(address_of(name)):
        known = queue_names()
        others = f"there are {', '.join(known)}" if known else "there are none at all"
        raise NoSuchQueue(f"no queue named {name!r} is in {runtime_dir()}; {others}")


def examine(name: str, timeout: float, clean: bool = False) -> Examined | None:
    """See `examine_all`. None: it is gone."""
    path = address_of(name)
    try:
        if not S_ISSOCK(os.lstat(path).st_mode):
            return Examined(name, path, State.FOREIGN, [_not_a_socket(path)])
    except FileNotFoundError:
        return None
    if is_stale(path):
        return _stale(name, path, clean)
    try:
        reached = _reach(name, path, timeout)
    except _Silent as silent:
        return silent.examined
    except (LayoutMismatch, SpaceCorrupt, AttachError, OSError) as error:
        if not os.path.lexists(path):
            return None
        return _stale(name, path, clean) if is_stale(path) else _foreign(name, path, error)
    try:
        return _look_at(name, path, reached, timeout)
    finally:
        reached.let_go()


class _Silent(Exception):
    def __init__(self, examined: Examined) -> None:
        self.examined = examined


def _reach(name: str, path: str, timeout: float) -> Reached:
    """Where nothing is seen to keep it from answering, it is asked twice: a supervisor may be busy just now."""
    for is_last in (False, True):
        try:
            return reach(name, as_client=False, timeout=timeout)
        except NoAnswer as error:
            silent = _silent(name, path, str(error))
            if is_last or silent.findings[0].code != "no_answer":
                raise _Silent(silent) from None
    raise AssertionError


# --- what does not run ----------------------------------------------------------------------------------------------


def _not_a_socket(path: str) -> Finding:
    return Finding(
        Severity.WARNING,
        "not_a_socket",
        f"{path} is no socket: no queue of that name can be opened.",
        "Remove it, if it is nothing that you need.",
    )


def _stale(name: str, path: str, clean: bool) -> Examined:
    removed = clean and remove_stale(path)
    finding = Finding(
        Severity.INFO if removed else Severity.WARNING,
        "stale_socket",
        "Nobody listens at its socket any more: its owner and its supervisor were killed together. Nothing else of it"
        " is left; the kernel freed its memory.",
        "It was removed." if removed else "`localq doctor --clean` removes it; so does the next queue of that name.",
        {"path": path},
    )
    return Examined(name, path, State.STALE, [finding], removed=removed)


def _silent(name: str, path: str, error: str) -> Examined:
    owner = _process(listener_at(path) or 0)
    findings = []
    if owner is not None:
        findings = [supervisor_stopped(pid) for pid in _supervisors(owner.pid, name) if _is_stopped(pid)]
        if _is_stopped(owner.pid):
            findings.append(_owner_stopped(owner.pid))
    if not findings:
        advice = "Look again with a larger --timeout; if it stays silent, look whether its owner is at a breakpoint."
        findings = [Finding(Severity.ERROR, "no_answer", f"{error[0].upper()}{error[1:]}.", advice)]
    return Examined(name, path, State.SILENT, findings, owner)


def _owner_stopped(pid: int) -> Finding:
    return Finding(
        Severity.ERROR,
        "owner_stopped",
        f"The owner (pid {pid}) is stopped (SIGSTOP or Ctrl-Z): a supervisor that is lost is not replaced while it is.",
        f"Continue it with `kill -CONT {pid}` (or `fg` in its shell).",
        {"pid": pid},
    )


def _foreign(name: str, path: str, error: Exception) -> Examined:
    if isinstance(error, LayoutMismatch):
        code, advice = "other_version", "Run the `localq doctor` of the version that it runs."
    elif isinstance(error, SpaceCorrupt):
        code, advice = (
            "damaged",
            "Close that queue and open it anew: something has written over the head of its memory.",
        )
    else:
        code, advice = "cannot_be_read", "Look who listens there (`ss -xlp`); another version of localq, perhaps."
    finding = Finding(Severity.ERROR, code, f"It can't be examined: {error}.", advice)
    return Examined(name, path, State.FOREIGN, [finding], _process(listener_at(path) or 0))


def _is_stopped(pid: int) -> bool:
    return condition_of(pid, 0) is Condition.STOPPED


def _process(pid: int) -> Process | None:
    import psutil

    if not pid:
        return None
    try:
        return Process(pid, " ".join(psutil.Process(pid).cmdline()))
    except psutil.Error:  # gone, or not ours to read
        return Process(pid, "")


def _supervisors(owner: int, name: str) -> list[int]:
    """Its children that are called as a supervisor of that queue is; the kernel keeps 15 bytes of that."""
    import psutil

    found = []
    try:
        for child in psutil.Process(owner).children():
            with open(f"/proc/{child.pid}/comm") as comm:
                if comm.read().rstrip("\n") == f"localq:{name}"[:15]:
                    found.append(child.pid)
    except (psutil.Error, OSError):
        pass  # it ended while we looked
    return found


# --- what runs ------------------------------------------------------------------------------------------------------


def _look_at(name: str, path: str, reached: Reached, timeout: float) -> Examined:
    told = reached.told
    sizes = Sizes(told["capacity"], told["memory"])
    pids_are_ours = reached.listener == told["owner_pid"]
    looks = _take_looks(reached, sizes, pids_are_ours, timeout)
    owner = _process(told["owner_pid"]) if pids_are_ours else Process(told["owner_pid"], "")
    seconds = (looks[-1].at_ns - looks[0].at_ns) / 1e9
    if _has_ended(looks[-1], told, pids_are_ours):
        return Examined(name, path, State.ENDED, [], owner, None, len(looks), seconds)
    findings = diagnose(looks, sizes)
    if pids_are_ours and condition_of(told["owner_pid"], told["owner_started"]) is Condition.STOPPED:
        findings.insert(0, _owner_stopped(told["owner_pid"]))
    if not pids_are_ours:
        findings.append(_OTHER_PIDS)
    return Examined(name, path, State.RUNNING, findings, owner, _readings(looks[-1], told), len(looks), seconds)


_OTHER_PIDS = Finding(
    Severity.INFO,
    "other_pids",
    "It runs where process ids mean other processes (a container, perhaps): whether its processes live was not"
    " checked.",
    "Run `localq doctor` there as well.",
)


def _take_looks(reached: Reached, sizes: Sizes, pids_are_ours: bool, timeout: float) -> list[Look]:
    """Three, and more while they agree on an error and there is time: it may pass."""
    until = time.monotonic() + timeout
    looks = [take_look(reached.space, pids_are_ours)]
    while len(looks) < LOOKS or (time.monotonic() + PAUSE < until and not is_healthy(diagnose(looks, sizes))):
        time.sleep(PAUSE)
        looks.append(take_look(reached.space, pids_are_ours))
    return looks


def _has_ended(last: Look, told: dict[str, Any], pids_are_ours: bool) -> bool:
    if last.phase == PHASE_STOPPED:
        return True
    return pids_are_ours and condition_of(told["owner_pid"], told["owner_started"]) is Condition.ENDED


def _readings(last: Look, told: dict[str, Any]) -> Readings:
    workers = [each for each in last.of(Role.WORKER) if each.condition is not Condition.ENDED]
    return Readings(
        supervisor_pid=told["supervisor_pid"],
        workers=last.workers,
        workers_alive=len(workers),
        workers_busy=sum(each.task_id is not None for each in workers),
        clients=[each.pid for each in last.of(Role.CLIENT)],
        queued={name: sum(depths) for name, depths in zip(told["queues"], last.depths, strict=False)},
        running=last.slots["claimed"] + last.slots["running"],
        unread=last.slots["done"],
        kept=last.slots["cached"],
        capacity=told["capacity"],
        memory=told["memory"],
        memory_held=last.held,
        memory_warm=last.kept,
        memory_by=last.holdings,
        looking=_looking(last),
        tallies=last.tallies,
    )


def _looking(last: Look) -> list[Looking]:
    found = [
        Looking(each.pid, each.role.value, each.blocks, each.block_bytes)
        for each in last.processes
        if each.live and each.blocks
    ]
    return sorted(found, key=lambda each: -each.bytes)


def as_data(examined: list[Examined], version: str) -> dict[str, Any]:
    """All of it as one document for programs. `version`: of localq."""
    return {
        "localq": version,
        "runtime_dir": runtime_dir(),
        "healthy": all(each.is_healthy for each in examined),
        "queues": [{**msgspec.to_builtins(each), "healthy": each.is_healthy} for each in examined],
    }
