# SPDX-License-Identifier: MIT
"""The way of a result to its client: workers that finish and announce, the completion ring, the flag `missed` for
when it is full, the client that reaps and consumes, and two recoverers beside each other.

To be laid beside lq_worker_finish, lq_space_announce, lq_client_reap, lq_client_consume and settle_done_. Each slot
begins in the hands of a worker, and to claim one again is a single step: `ring` has the real ones. A slot in
RUNNING(dead) is judged as crashed; outcomes are not told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Await, Broken, Cas, Load, Maybe, Model, Steps, Store, Swap
from parts import ALIVE, FULL, KILLED, LIVE, NOBODY, STOPPED, Control, Ring, Roster, Suite, Word

CLIENT, MORTAL, IMMORTAL = 1, 2, 3  # labels: two workers
SWEEP = 0  # for a recoverer: not a dead label, but results whose client is gone


class Size(NamedTuple):
    """How much of everything."""

    tasks: int = 2  # at least as many as there are slots
    slots: int = 2
    cells: int = 1
    kills: int = 0
    stops: int = 0
    losses: int = 0
    recoverers: int = 2
    false_alarms: int = 0  # the flag may be up without need
    mortal_client: bool = False


class Completion(Model):
    """The model. `broken` names the rule that it breaks, none if empty."""

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        self.words = [self.cell(f"word[{i}]", Word("RUNNING", MORTAL + i % 2, 1)) for i in range(size.slots)]
        self.ring = Ring(self, "completions", size.cells, broken)
        self.missed = self.cell("missed", 0)
        names = ["client", "worker 2", "worker 3"]
        self.roster = Roster(self, names, size.kills, size.stops, size.losses)
        self.finished = self.cell("(tasks seen by the client)", 0)
        self.alarms = self.cell("false alarms left", size.false_alarms)
        mortal = self.roster.faults
        self.process("client", self.client, mortal(CLIENT) if size.mortal_client else ())
        self.process("worker 2", partial(self.worker, MORTAL), mortal(MORTAL))
        self.process("worker 3", partial(self.worker, IMMORTAL))
        if size.false_alarms:
            self.process("alarmist", self.alarmist)
        if size.kills:
            self.add_twins("recoverer", size.recoverers, self.recoverer, self.roster.losses_of())

    # ------------------------------------------------------------------------------------------------ the client

    def client(self) -> Steps[None]:
        left = self.size.tasks - self.size.slots  # to be submitted
        reaped = 0
        while reaped < self.size.tasks:
            index = yield from self._reap()
            yield from self._consume(index)
            reaped += 1
            if left > 0:
                yield from self._use_again(index)
                left -= 1

    def _reap(self) -> Steps[int]:
        index: int | None = None
        while index is None:
            yield Await(lambda cells: self.ring.is_filled(cells) or cells[self.missed] or None, "client_sleep")
            index = yield from self._reap_once()
        return index

    # lq_client_reap
    def _reap_once(self) -> Steps[int | None]:
        seen = yield from self.ring.peek()
        if seen is not None:
            position, entry = seen
            yield self.ring.advance(position)
            word = yield Load(self.words[entry.slot])
            is_news = word.state == "DONE" and word.generation == entry.generation
            return entry.slot if is_news or self.broken == "every_cell_believed" else None
        if not (yield Load(self.missed)):
            return None
        index = yield from self._reap_by_scan()
        if index is None and (yield Swap(self.missed, 0)) and self.broken != "flag_lowered_without_a_second_look":
            index = yield from self._reap_by_scan()
            if index is not None and self.broken != "flag_not_raised_again":
                yield Store(self.missed, 1)
        elif index is not None and self.broken == "flag_lowered_when_something_is_found":
            yield Store(self.missed, 0)
        return index

    # reap_by_scan_
    def _reap_by_scan(self) -> Steps[int | None]:
        for index in range(self.size.slots):
            word = yield Load(self.words[index])
            if word.state == "DONE":
                return index
        return None

    # lq_client_consume
    def _consume(self, index: int) -> Steps[None]:
        while not (yield from self._consume_once(index)):
            if self.broken == "consumed_without_a_second_look":
                return  # a recoverer may have relabelled it in between

    def _consume_once(self, index: int) -> Steps[bool]:
        word = yield Load(self.words[index])
        if word.state != "DONE":
            raise Broken(f"a task is told to its client twice: {word}")
        swapped = yield Cas(self.words[index], word, word.as_("CACHED", NOBODY), "client_consume:cached", self._count)
        return bool(swapped)

    def _count(self, cells: list[Any]) -> None:
        cells[self.finished] += 1

    # evict, reserve, submit and push in one
    def _use_again(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        yield Cas(self.words[index], word, word.next("QUEUED", NOBODY), "evicted, and submitted again")

    def alarmist(self) -> Steps[None]:
        """A worker of another client of this row, before its time."""
        if (yield Maybe(self.alarms)):
            yield Store(self.missed, 1)

    # ---------------------------------------------------------------------------------------------- the workers

    def worker(self, me: int) -> Steps[None]:
        while True:
            yield from self._work(me)

    def _work(self, me: int) -> Steps[None]:
        index = yield Await(partial(self._in_hand, me))
        word = yield Load(self.words[index])
        mine = word.as_("RUNNING", me)
        if word == mine or (word.state == "QUEUED" and (yield Cas(self.words[index], word, mine, "claimed"))):
            yield from self._finish(me, index)

    def _in_hand(self, me: int, cells: Sequence[Any]) -> int | None:
        for index, at in enumerate(self.words):
            word = cells[at]
            if word.state == "QUEUED" or (word.state == "RUNNING" and word.label == me):
                return index
        return None

    # lq_worker_finish
    def _finish(self, me: int, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        label = NOBODY if self.broken == "done_bears_no_label" else me
        done = word.as_("DONE", label)
        yield Store(self.words[index], done, "[W2] worker_finish:done", (word,))
        if (yield from self._is_waited_for()):
            yield from self._announce(index, word.generation)
        else:
            yield Cas(self.words[index], done, word.as_("CACHED", NOBODY), "nobody waits")

    # lq_roster_is_live, of the slot's client
    def _is_waited_for(self) -> Steps[bool]:
        row = yield Load(self.roster.row(CLIENT), own=not self.size.mortal_client)
        return bool(row == LIVE)

    # lq_space_announce, without the bell
    def _announce(self, index: int, generation: int) -> Steps[None]:
        if not (yield from self._is_waited_for()):
            return
        outcome = yield from self.ring.push(index, generation)
        if outcome == FULL and self.broken != "full_ring_forgotten":
            yield Store(self.missed, 1, "announce:pushed")

    # ------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self) -> Steps[None]:
        while True:
            dead = yield Await(self._owed)
            if dead == SWEEP:
                yield from self._sweep()
            else:
                yield from self._recover(dead)

    # lq_space_bury, one pass of lq_space_recover, and lq_space_release if it found nothing
    def _recover(self, dead: int) -> Steps[None]:
        yield self.roster.bury(dead)
        found = False
        for index in range(self.size.slots):
            found |= yield from self._recover_slot(dead, index)
        if not found:
            yield self.roster.release(dead)

    def _owed(self, cells: Sequence[Any]) -> int | None:
        dead = self.roster.unreleased(cells)
        if dead is None and cells[self.roster.row(CLIENT)] != LIVE:
            return SWEEP if any(cells[at].state == "DONE" for at in self.words) else None
        return dead

    # recover_slot_
    def _recover_slot(self, dead: int, index: int) -> Steps[bool]:
        word = yield Load(self.words[index])
        if word.label != dead:
            if dead == CLIENT and word.state == "DONE":
                yield from self._settle_done(index, word)  # a result that nobody waits for any more
            return False
        if word.state == "RUNNING":
            done = word.as_("DONE", dead)
            if (yield Cas(self.words[index], word, done, "recover:done")):
                yield from self._settle_done(index, done)
        else:
            yield from self._settle_done(index, word)
        return True

    # settle_done_
    def _settle_done(self, index: int, word: Word) -> Steps[None]:
        waited_for = yield from self._is_waited_for()
        settled = word.as_("DONE" if waited_for else "CACHED", NOBODY)
        if self.broken == "relabel_before_the_push":
            yield Cas(self.words[index], word, settled, "recover:settled")
        if waited_for:
            yield from self._announce(index, word.generation)
        yield Cas(self.words[index], word, settled, "recover:settled")

    # lq_space_sweep, without eviction
    def _sweep(self) -> Steps[None]:
        for index in range(self.size.slots):
            yield from self._sweep_slot(index)

    def _sweep_slot(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index])
        if word.state == "DONE" and not (yield from self._is_waited_for()):
            yield Cas(self.words[index], word, word.as_("CACHED", NOBODY), "sweep")

    # ------------------------------------------------------------------------------------------------- the checks

    def always(self, cells: Sequence[Any]) -> None:
        self.roster.check_released(cells, self.words)

    def settled(self, cells: Sequence[Any]) -> bool:
        if self.roster.unreleased(cells) is not None:
            return False
        fates = [ALIVE, *(cells[at] for at in self.roster.fates)]
        owed = ("RUNNING", "QUEUED") if fates[CLIENT] == STOPPED else ("RUNNING", "QUEUED", "DONE")
        excused = False  # a slot may wait for a stopped process
        for at in self.words:
            word = cells[at]
            if fates[word.label] == STOPPED:
                excused = True
            elif word.state in owed or fates[word.label] == KILLED:
                return False
        return fates[CLIENT] != ALIVE or excused or cells[self.finished] == self.size.tasks


_DEATH = Size(kills=1)

SUITE = Suite(
    "completion",
    Completion,
    small=(
        Size(tasks=3),
        Size(false_alarms=1, stops=1),
        _DEATH._replace(slots=1, tasks=1, losses=1),
        _DEATH._replace(slots=1, tasks=2),
        _DEATH._replace(recoverers=1, mortal_client=True),
    ),
    large=(
        _DEATH,
        _DEATH._replace(tasks=3),
        _DEATH._replace(mortal_client=True, losses=1),
        Size(tasks=3, false_alarms=1),
        Size(tasks=3, slots=3, false_alarms=1),
        _DEATH._replace(false_alarms=1),
        _DEATH._replace(stops=1, losses=1, cells=2),
    ),
    controls={
        "every_cell_believed": Control("a client believes a cell without a look at the word", _DEATH),
        "consumed_without_a_second_look": Control(
            "a client that loses its swap leaves the result", _DEATH._replace(slots=1, tasks=1)
        ),
        "full_ring_forgotten": Control("an announcement that finds the ring full is dropped", _DEATH),
        "flag_lowered_without_a_second_look": Control(
            "the flag is lowered, and nobody looks after that", Size(false_alarms=1)
        ),
        "flag_not_raised_again": Control(
            "the flag stays down when the look after that finds something", Size(tasks=3, slots=3, false_alarms=1)
        ),
        "flag_lowered_when_something_is_found": Control("one find lowers the flag", Size(tasks=3, slots=3)),
        "done_bears_no_label": Control("a result is nobody's before it is announced", _DEATH),
        "relabel_before_the_push": Control(
            "recovery relabels first and announces then", _DEATH._replace(slots=1, tasks=1, losses=1)
        ),
        "no_full_check": Control("a push does not look at the head", _DEATH),
        "unsigned_full_check": Control("the full check is unsigned", _DEATH),
        "no_help": Control("a producer waits for a tail that another one owes", Size(stops=1)),
    },
)
