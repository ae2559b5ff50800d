# SPDX-License-Identifier: MIT
"""Watch one scenario from outside: a session of its own, cut off when it says nothing for too long, nothing of it left.

Knows processes, files and lines of JSON; nothing of pools. Whatever a scenario starts, however far it strays, bears a
mark in its environment, by which it is found, counted and killed.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from benchmarks.measure import ROOT

MARK = "LOCALQ_WHAT_HAPPENS"
LIMIT = 12.0  # seconds without a word, after which a scenario hangs
ORPHAN_SECONDS = 1.0  # that processes are given to end after their client
AIM_SECONDS = 0.5  # between "ready" and the signal: calls are under way
LOOK_SECONDS = 0.005
SHARED_MEMORY = Path("/dev/shm")

Facts = dict[str, Any]


def play(fault: str, system: str) -> Facts:
    """Play a fault of `faults` on a system of `systems`."""
    return observe([sys.executable, "-m", "benchmarks.what_happens.faults", fault, system])


def observe(command: Sequence[str], limit: float = LIMIT) -> Facts:
    """Run a scenario, whose last argument will be a folder, to its end. What it said, and what was seen of it:

    `hangs`: it was cut off, having said nothing for `limit` seconds; `ended_seconds`: from the signal that it asked
    for, else from its last word, to its end; `exit_status`: as in `subprocess`; `orphans`: names of processes that
    lived on for ORPHAN_SECONDS; `files`: left in the folder for temporary files and in shared memory; `tracebacks`,
    `error_lines`, `last_line`: of stderr. What was cut off has left nothing: it was still at it.
    """
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="what-happens-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        in_shared_memory = _names_in(SHARED_MEMORY)
        with _started([*command, name], folder, mark) as process:
            facts = _watch(process, folder / "out", limit)
            orphans = [] if facts["hangs"] else _orphans(mark)
            new = _names_in(SHARED_MEMORY) - in_shared_memory
            files = [] if facts["hangs"] else sorted(_files_below(folder / "tmp") | new)
        _remove_files_of(process.pid, new)
        complaints = _complaints((folder / "err").read_text(errors="replace"))
    return facts | complaints | {"orphans": orphans, "files": files}


@contextmanager
def _started(command: Sequence[str], folder: Path, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, MARK: mark, "TMPDIR": str(folder / "tmp")},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_all(mark)
        process.wait()


def _watch(process: subprocess.Popen[bytes], out: Path, limit: float) -> Facts:
    facts: Facts = {"hangs": False, "limit": limit}
    pidfd = os.pidfd_open(process.pid)
    end = select.poll()
    end.register(pidfd, select.POLLIN)
    try:
        with open(out, "rb") as lines:
            last_at = monotonic()
            while not end.poll(LOOK_SECONDS * 1000):
                if _hear(lines.readlines(), facts):
                    last_at = monotonic()
                if "signal" in facts and "signalled" not in facts:
                    _send(process, facts)
                    last_at = monotonic()
                if monotonic() - last_at > limit:
                    return facts | {"hangs": True}
            facts["ended_seconds"] = monotonic() - last_at
            _hear(lines.readlines(), facts)
    finally:
        os.close(pidfd)
    return facts | {"exit_status": process.wait()}


def _hear(lines: Sequence[bytes], facts: Facts) -> bool:
    """Take over what was said. A scenario writes each line at once, so there are no halves."""
    for line in lines:
        facts |= json.loads(line)
    return bool(lines)


def _send(process: subprocess.Popen[bytes], facts: Facts) -> None:
    """The signal that the scenario asked for, to its process or, as a terminal does, to its group."""
    time.sleep(AIM_SECONDS)
    (os.killpg if facts["signal_group"] else os.kill)(process.pid, signal.Signals(facts["signal"]))
    facts["signalled"] = True


def _orphans(mark: str) -> list[str]:
    """The names of processes that are still there when they had time to end."""
    until = monotonic() + ORPHAN_SECONDS
    while (found := marked(mark)) and monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return sorted(_name_of(pid) for pid in found)


def marked(mark: str) -> list[int]:
    """Every living process with that mark. One that has ended and waits for its parent has no environment any more."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:  # gone, or somebody else's
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(name))
    return found


def end_all(mark: str) -> None:
    """Kill until nobody is left: one may have forked while it was looked for."""
    while found := marked(mark):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(LOOK_SECONDS)


def _name_of(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "ended just now"


def _names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _files_below(folder: Path) -> set[str]:
    """Whatever is no folder, sockets among it. An empty folder is none: some keep one for the next time."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def _remove_files_of(pid: int, names: set[str]) -> None:
    """From shared memory, what bears the number of the scenario's process; other programs make files there too."""
    for name in names:
        if re.search(rf"(?<!\d){pid}(?!\d)", name):
            path = SHARED_MEMORY / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _complaints(text: str) -> Facts:
    lines = text.splitlines()
    return {
        "tracebacks": sum(line.startswith("Traceback (most recent call last)") for line in lines),
        "error_lines": len(lines),
        "last_line": lines[-1] if lines else "",
    }
