# SPDX-License-Identifier: MIT
"""The process that kills and stops. `python -m benchmarks.soak.chaos NAME SEED MEAN_SECONDS FILE`.

Whom it may hit it finds in the queue's own roster, which it maps read-only. It obeys `go` and `pause` on its standard
input (after a pause nobody is stopped any more, and it answers), and ends with that input.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from random import Random

from localq import AttachError
from localq._native import ROLE_CLIENT, ROLE_SPARE, ROLE_SUPERVISOR, ROLE_WORKER
from localq.pool.attach import Reached, reach
from localq.pool.processes import open_process

SHORTEST_STOP, LONGEST_STOP = 0.01, 0.5  # seconds
ROLES = {ROLE_CLIENT: "client", ROLE_SUPERVISOR: "supervisor", ROLE_WORKER: "worker", ROLE_SPARE: "spare"}
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}

Fault = tuple[str, str, bool]  # what, to whom, to all of them
#: What happens together, and how often.
EVENTS: dict[tuple[Fault, ...], float] = {
    (("kill", "worker", False),): 26,
    (("stop", "worker", False),): 14,
    (("term", "worker", False),): 12,
    (("kill", "spare", False),): 6,  # which there are only beside max_tasks_per_child
    (("stop", "spare", False),): 4,
    (("term", "spare", False),): 3,
    (("kill", "spare", True), ("kill", "worker", True)): 1,
    (("kill", "supervisor", False),): 8,
    (("stop", "supervisor", False),): 8,
    (("kill", "client", False),): 7,
    (("stop", "client", False),): 8,
    (("term", "client", False),): 4,
    (("stop", "owner", False),): 6,
    (("kill", "worker", True),): 2,
    (("term", "worker", True),): 2,
    (("stop", "worker", True),): 2,
    (("stop", "worker", False), ("kill", "worker", False)): 2,
    (("stop", "supervisor", False), ("kill", "worker", False)): 3,
    (("stop", "supervisor", False), ("kill", "worker", True)): 2,
    (("stop", "supervisor", False), ("kill", "client", False)): 2,
    (("stop", "supervisor", False), ("kill", "supervisor", False)): 1,
    (("stop", "owner", False), ("kill", "supervisor", False)): 2,
    (("kill", "supervisor", False), ("kill", "client", False)): 2,
    (("stop", "client", False), ("kill", "worker", True)): 1,
    (("stop", "worker", True), ("kill", "supervisor", False)): 1,
}


class Chaos:
    """Faults, one event after another."""

    def __init__(self, name: str, seed: str, mean: float, file: str) -> None:
        self._reached: Reached = _reach(name)
        self._owner: int = self._reached.told["owner_pid"]
        self._chance = Random(seed)
        self._mean = mean
        self._fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stopped: list[tuple[float, int]] = []  # until when, descriptor of the process
        self._goes = False
        self._next = 0.0

    def run(self) -> None:
        try:
            while self._hear():
                now = time.monotonic()
                self._release(now)
                if self._goes and now >= self._next:
                    self._next = now + self._chance.expovariate(1 / self._mean)
                    for fault in self._chance.choices(list(EVENTS), list(EVENTS.values()))[0]:
                        self._commit(*fault)
        finally:
            self._release(float("inf"))

    def _hear(self) -> bool:
        """Wait for a word or until the next thing is due. False when nobody is there any more."""
        due = [until for until, _ in self._stopped] + ([self._next] if self._goes else [])
        left = max(0.0, min(due) - time.monotonic()) if due else None
        if not select.select([0], [], [], left)[0]:
            return True
        word = os.read(0, 100).decode().strip()
        if word:
            self._goes = word == "go"
            self._next = time.monotonic()
            if not self._goes:
                self._release(float("inf"))
            os.write(1, json.dumps({word: True}).encode() + b"\n")
        return bool(word)

    def _release(self, now: float) -> None:
        for until, pidfd in [each for each in self._stopped if each[0] <= now]:
            self._stopped.remove((until, pidfd))
            _send(pidfd, signal.SIGCONT)
            os.close(pidfd)

    def _commit(self, what: str, role: str, to_all: bool) -> None:
        rows = [row for row in self._reached.space.rows() if row["live"] and row["pid"] and self._role_of(row) == role]
        if not rows:
            return
        for row in rows if to_all else [self._chance.choice(rows)]:
            pidfd = open_process(row["pid"], row["started"])
            if pidfd is None:
                continue
            if not _send(pidfd, SIGNALS[what]):
                os.close(pidfd)
                continue
            told = {
                "ms": time.monotonic_ns() // 1_000_000,
                "what": what,
                "role": role,
                "pid": row["pid"],
                "ready": row["ready"],
            }
            os.write(self._fd, json.dumps(told).encode() + b"\n")
            if what == "stop":
                length = self._chance.uniform(SHORTEST_STOP, LONGEST_STOP)
                self._stopped.append((time.monotonic() + length, pidfd))
            else:
                os.close(pidfd)

    def _role_of(self, row: object) -> str:
        assert isinstance(row, dict)
        return "owner" if row["pid"] == self._owner else ROLES[row["role"]]


def _send(pidfd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _reach(name: str) -> Reached:
    until = time.monotonic() + 10.0
    while True:
        try:
            return reach(name, False, 5.0)
        except AttachError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it must not leave anybody stopped
    name, seed, mean, file = sys.argv[1:]
    chaos = Chaos(name, seed, float(mean), file)
    os.write(1, b'{"up": true}\n')
    chaos.run()


if __name__ == "__main__":
    main()
