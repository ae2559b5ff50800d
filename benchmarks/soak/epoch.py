# SPDX-License-Identifier: MIT
"""The life of one owner: a storm with faults, rests at which everything is counted, and one of several ends."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.soak import tasks, watch
from benchmarks.soak.helper import Helper, NoAnswer, environment
from benchmarks.soak.ledger import Tail
from benchmarks.soak.load import STALL
from benchmarks.soak.member import Part
from benchmarks.soak.verify import Evidence
from localq.addresses import address_of
from localq.pool.attach import Reached, reach
from localq.pool.doorway import remove_stale

ENDS = ("close", "kill", "kill", "term", "term-supervisor", "kill-all")
START = 20.0  # seconds until a process must be up
VANISH = 1.0  # seconds until nothing is left of a killed owner
DRAIN = 2.0  # the queue's drain_timeout
LAST_LOAD = 1.0  # seconds of load before the end
GROWTH = 32 << 20  # bytes that the owner may grow by in the second half of a storm: a heap is never quite the same


class Failed(Exception):
    """Something does not hold; what, and where it was written down."""


@dataclass(frozen=True)
class Terms:
    """Of the whole run."""

    clients: int
    workers: int
    mean: float  # seconds between two faults
    run: str  # marks its processes


class Epoch:
    """One owner, its clients, and what is done to them."""

    def __init__(
        self, terms: Terms, seed: str, folder: Path, first_member: int, show: Callable[[Epoch, str], None]
    ) -> None:
        self._terms = terms
        self._chance = Random(seed)
        self._seed = seed
        self._folder = folder
        self._show = show
        self.next_member = first_member
        self.name = f"soak-{terms.run[:8]}"
        self.how = self._chance.choice(ENDS)
        self.settings = self._choose_settings()
        self.facts: dict[str, Any] = {"end": self.how, "settings": self.settings}
        self.clients: dict[int, Helper] = {}
        self.tails: dict[int, Tail] = {}
        self.owner: Helper | None = None
        self.chaos: Helper | None = None
        self._reached: Reached | None = None
        self._all: list[Helper] = []
        self.evidence = Evidence(folder, set(), 1 << 62)

    def _choose_settings(self) -> dict[str, Any]:
        chance = self._chance
        return {
            "workers": self._terms.workers,
            "queues": ["default", "side"],
            "capacity": chance.choice((64, 512, 8192)),
            "memory": chance.choice(("96MB", "256MB", "1GB")),
            "result_cache_size": chance.choice((0, 16, 200)),
            "result_ttl": chance.choice((0.4, 1.0)),
            "start_method": chance.choice(("clean", "clean", "clean", "fork")),
            "max_tasks_per_child": chance.choice((None, None, 30, 300)),
            "drain_timeout": DRAIN,
        }

    # the course of it

    def run(self, seconds: float, hold: bool) -> None:
        """Raises Failed; `hold`: not before somebody has pressed Enter."""
        try:
            self._open()
            first = self._inspect(0)
            for _ in range(self._terms.clients):
                self._start_client()
            self._storm(seconds / 2)
            self._rest()
            between = self._inspect(len(self.clients))
            self._storm(seconds / 2)
            self._rest()
            self._dismiss_clients()
            self._compare(first, between, self._inspect(0))
            self._end()
        except NoAnswer as error:
            failed = Failed(self.dump(str(error)))
            self._hold(failed, hold)
            raise failed from None
        except Failed as failed:
            self._hold(failed, hold)
            raise
        finally:
            self._close()

    def _open(self) -> None:
        self._show(self, "opening")
        self.owner = self._start_member(owns=True)
        self.owner.wait_for("up", START)
        self._reached = reach(self.name, False, START)
        arguments = [self.name, self._seed, str(self._terms.mean), str(self._folder / "faults")]
        self.chaos = self._helper("chaos", arguments, "chaos")
        self.chaos.wait_for("up", START)
        self._rest_of(self.owner)

    def _storm(self, seconds: float) -> None:
        assert self.owner is not None
        assert self.chaos is not None
        for member in (self.owner, *self.clients.values()):
            member.tell("go")
        self.chaos.tell("go")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.02)
            self._watch("storm")
            self._replace_lost()
        self.chaos.tell("pause")
        self.chaos.wait_for("pause", START)
        time.sleep(0.1)  # who was killed last is seen
        self._replace_lost()

    def _rest(self) -> None:
        """Until all members rest. Who was told to terminate leaves meanwhile, and another one comes, and rests."""
        assert self.owner is not None
        self._show(self, "resting")
        told: set[int] = set()
        rested: set[int] = set()
        until = time.monotonic() + 2 * STALL
        while True:
            self._replace_lost()
            members = {self.first_member_of_owner: self.owner, **self.clients}
            for number in members.keys() - told:
                members[number].tell("rest")
            told |= members.keys()
            rested |= {number for number in members.keys() - rested if members[number].hear("resting")}
            if rested >= members.keys():
                return
            if time.monotonic() > until:
                raise Failed(self.dump(f"members {members.keys() - rested} do not come to rest"))
            time.sleep(0.02)

    def _rest_of(self, member: Helper) -> None:
        member.tell("rest")
        member.wait_for("resting", START)

    def _dismiss_clients(self) -> None:
        for member in self.clients.values():
            member.tell("leave")
        for number, member in self.clients.items():
            if member.end(START) != 0:
                raise Failed(self.dump(f"client {number} was told to leave and ended with {member.exit_status}"))
        self.clients.clear()

    def _inspect(self, clients: int) -> dict[str, Any]:
        assert self.owner is not None
        self._show(self, "inspecting")
        self.owner.tell("inspect", str(clients))
        found: dict[str, Any] = self.owner.wait_for("inspected", 3 * watch.SETTLE)
        self.facts["tallies"] = found["tallies"]
        if found["problems"] or found["phase"]:
            raise Failed(self.dump(f"at rest: {'; '.join(found['problems'])}, phase {found['phase']}"))
        return found

    def _compare(self, first: dict[str, Any], between: dict[str, Any], last: dict[str, Any]) -> None:
        """The owner is as it was before the storm."""
        self.facts["owner_bytes"] = [each["memory"] for each in (first, between, last)]
        self.facts["supervisor_bytes"] = [each["supervisor_memory"] for each in (first, between, last)]
        grown = last["memory"] - max(first["memory"], between["memory"])
        if first["threads"] != last["threads"]:
            raise Failed(self.dump(f"threads: {first['threads']} before, {last['threads']} after the storm"))
        for what in ("fds", "supervisor_fds"):
            if what == "supervisor_fds" and self.settings["start_method"] == "fork":
                continue  # one that was forked later has inherited what the owner had open by then
            found = Counter(last[what])
            found.subtract(first[what])
            if what == "fds" and self.settings["start_method"] == "fork":
                del found["pipe"]  # tells the end of a supervisor that was forked while the owner looked at something
            if any(found.values()):
                raise Failed(self.dump(f"{what}: {first[what]} before, {last[what]} after the storm"))
        if grown > GROWTH:
            raise Failed(self.dump(f"the owner's memory grew by {grown >> 20} MiB"))

    # the end

    def _end(self) -> None:
        """Under load again, end the owner in the way that was chosen, and see that nothing is left."""
        assert self.owner is not None
        assert self.chaos is not None
        assert self._reached is not None
        for _ in range(self._terms.clients):
            self._start_client()
        self.owner.tell("go")
        for member in self.clients.values():
            member.tell("go")
        until = time.monotonic() + LAST_LOAD
        while time.monotonic() < until:
            time.sleep(0.02)
            self._watch(f"ending: {self.how}")
        supervisor = next(row["pid"] for row in self._reached.space.rows() if row["role"] == 2 and row["live"])
        inode = os.fstat(self._reached.space.fds[0]).st_ino
        self.chaos.close()
        self._let_go()
        self.evidence.end_ms = time.monotonic_ns() // 1_000_000
        self._strike(supervisor)
        self._see_the_end(supervisor, inode)

    def _strike(self, supervisor: int) -> None:
        assert self.owner is not None
        if self.how == "close":
            self.owner.tell("leave")
        elif self.how == "term":
            self.owner.signal(signal.SIGTERM)
        elif self.how == "term-supervisor":
            os.kill(supervisor, signal.SIGTERM)
        else:
            if self.how == "kill-all":
                os.kill(supervisor, signal.SIGSTOP)
            self.owner.signal(signal.SIGKILL)
            if self.how == "kill-all":
                os.kill(supervisor, signal.SIGKILL)

    def _see_the_end(self, supervisor: int, inode: int) -> None:
        assert self.owner is not None
        status = self.owner.end(START)
        meant = {"kill": -signal.SIGKILL, "kill-all": -signal.SIGKILL, "term": -signal.SIGTERM}.get(self.how, 0)
        if status != meant:
            raise Failed(self.dump(f"after {self.how} the owner ended with {status} instead of {meant}"))
        if self.how != "close":
            self.evidence.killed.add(self.first_member_of_owner)
        members = {member.pid for member in self.clients.values()}
        took = watch.within(VANISH, lambda: not set(watch.marked(self._terms.run)) - members)
        left = set(watch.marked(self._terms.run)) - members
        if took is None and left:
            raise Failed(self.dump(f"{self.how}: left after {VANISH} s: {[watch.describe(pid) for pid in left]}"))
        self.facts["vanished_ms"] = round((took or VANISH) * 1000)
        for number, member in self.clients.items():
            if member.end(START) != 0:
                raise Failed(self.dump(f"after {self.how} client {number} ended with {member.exit_status}"))
        mapped = watch.mapping(inode)
        if mapped:
            raise Failed(self.dump(f"{self.how}: still mapped by {[watch.describe(pid) for pid in mapped]}"))
        socket = address_of(self.name)
        if self.how == "kill-all":  # nobody was left to remove it: what the next queue of that name would do
            remove_stale(socket)
        if os.path.exists(socket):
            raise Failed(self.dump(f"{self.how}: the socket {socket} is left"))

    # members

    def _helper(self, module: str, arguments: list[str], name: str) -> Helper:
        told = {watch.MARK: self._terms.run, tasks.RUNS: str(self._folder / "runs")}
        helper = Helper(module, arguments, self._folder / f"stderr-{name}", environment(told))
        self._all.append(helper)
        return helper

    def _start_member(self, owns: bool) -> Helper:
        number = self.next_member
        self.next_member += 1
        part = Part(self.name, number, self._seed, str(self._folder), owns, self.settings if owns else {})
        member = self._helper("member", [part.to_json()], f"{'owner' if owns else 'client'}-{number}")
        self.tails[number] = Tail(self._folder / f"ledger-{number}")
        if owns:
            self.first_member_of_owner = number
        else:
            self.clients[number] = member
        return member

    def _start_client(self) -> None:
        self._start_member(owns=False).tell("go")

    def _replace_lost(self) -> None:
        for number, member in list(self.clients.items()):
            status = member.exit_status
            if status is None:
                continue
            del self.clients[number]
            if status in (-signal.SIGKILL, -signal.SIGTERM):  # the latter: before it could handle that
                self.evidence.killed.add(number)
            elif status != 0:
                raise Failed(self.dump(f"client {number} ended with {status}"))
            self._start_client()

    def _watch(self, doing: str) -> None:
        """Does everybody get on?"""
        assert self.owner is not None
        self._show(self, doing)
        living = {self.first_member_of_owner: self.owner, **self.clients}
        for number, member in living.items():
            tail = self.tails[number]
            tail.look()
            if tail.troubles:
                raise Failed(self.dump(f"member {number}: {tail.troubles[0]}"))
            if (told := member.hear("closed")) is not None:
                raise Failed(self.dump(f"member {number} was told too early that the queue has ended: {told}"))
            if time.monotonic() - max(tail.grown_at, member.started) > STALL + 5.0 and member.exit_status is None:
                raise Failed(self.dump(f"member {number} has not got on for {STALL + 5.0} s"))
        if self.owner.exit_status is not None:
            raise Failed(self.dump(f"the owner ended with {self.owner.exit_status}"))

    def dump(self, why: str) -> str:
        """Write down how everything is; returns why."""
        path = self._folder / "dump"
        space = self._reached.space if self._reached is not None else None
        watch.dump(path, space, watch.marked(self._terms.run))
        time.sleep(0.5)  # faulthandler writes
        return f"{why} (see {path})"

    def _hold(self, failed: Failed, hold: bool) -> None:
        if hold:
            input(f"{failed}\nEnter ends all processes: ")

    def _let_go(self) -> None:
        reached, self._reached = self._reached, None
        if reached is not None:
            reached.let_go()

    def _close(self) -> None:
        for helper in reversed(self._all):
            helper.close()
        self._let_go()
