# SPDX-License-Identifier: MIT
"""What was submitted, what came of it, what ran: files that outlive whoever writes them. One line is one write.

S id kind retries               a member is about to submit
O id outcome attempts pid ms note
C id                            a member has cancelled another's task, and was told that it did
X note                          something is wrong here
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SUCCEEDED, FAILED, CANCELLED, CRASHED = "succeeded", "failed", "cancelled", "crashed"
CLOSED = "closed"  # the owner ended first, and the member was told so
ABANDONED = "abandoned"  # the member left, or let go of a map, before it was done
WRONG = "wrong"  # an outcome that should not be
OUTCOMES = (SUCCEEDED, FAILED, CANCELLED, CRASHED, CLOSED, ABANDONED, WRONG)


class Ledger:
    """One member's file. Any thread may write."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def submitted(self, number: int, kind: str, retries: int) -> None:
        os.write(self._fd, b"S %d %s %d\n" % (number, kind.encode(), retries))

    def outcome(self, number: int, outcome: str, attempts: int = 0, pid: int = 0, note: str = "") -> None:
        ms = time.monotonic_ns() // 1_000_000
        line = f"O {number} {outcome} {attempts} {pid} {ms} {_one_line(note)}\n"
        os.write(self._fd, line.encode("utf-8", "backslashreplace"))

    def cancelled_other(self, number: int) -> None:
        os.write(self._fd, b"C %d\n" % number)

    def trouble(self, note: str) -> None:
        os.write(self._fd, f"X {_one_line(note)}\n".encode("utf-8", "backslashreplace"))


def _one_line(note: str) -> str:
    return note.replace("\n", " | ")[:2000]


class Outcome(NamedTuple):
    outcome: str
    attempts: int
    pid: int
    ms: int
    note: str


@dataclass
class Account:
    """What one ledger says."""

    submitted: dict[int, tuple[str, int]] = field(default_factory=dict)  # kind, retries
    submitted_twice: list[int] = field(default_factory=list)
    outcomes: dict[int, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    cancelled_others: list[int] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def read_account(path: Path) -> Account:
    account = Account()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            _add_line(account, line)
    return account


def _add_line(account: Account, line: str) -> None:
    if line.startswith("S "):
        _, number, kind, retries = line.split()
        if int(number) in account.submitted:
            account.submitted_twice.append(int(number))
        account.submitted[int(number)] = kind, int(retries)
    elif line.startswith("O "):
        _, number, outcome, attempts, pid, ms, *note = line.rstrip("\n").split(" ", 6)
        found = Outcome(outcome, int(attempts), int(pid), int(ms), note[0] if note else "")
        account.outcomes[int(number)].append(found)
    elif line.startswith("C "):
        account.cancelled_others.append(int(line[2:]))
    else:
        account.troubles.append(line[2:].strip())


def read_runs(path: Path) -> dict[int, list[tuple[int, int]]]:
    """Of each task that ran: (which run, process)."""
    runs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    if path.exists():
        with open(path, encoding="ascii") as lines:
            for line in lines:
                number, attempt, pid = line.split()
                runs[int(number)].append((int(attempt), int(pid)))
    return runs


class Tail:
    """Follows a ledger that grows: how many tasks it says were submitted, and how many have an outcome."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.submitted = self.done = 0
        self.troubles: list[str] = []
        self.grown_at = time.monotonic()

    def look(self) -> None:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return
        self._at += len(data)
        self.grown_at = time.monotonic()
        lines = b"\n" + data
        self.submitted += lines.count(b"\nS ")
        self.done += lines.count(b"\nO ")
        if b"\nX " in lines:
            self.troubles += [line[2:].decode() for line in data.splitlines() if line.startswith(b"X ")]
