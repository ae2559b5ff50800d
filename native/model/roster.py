# SPDX-License-Identifier: MIT
"""One row of the roster and the labels that come from it: processes that take it one after another, each with a
word of its own in between, and two recoverers beside each other, one of whom may wake up incarnations later.

To be laid beside lq_roster.c and lq_space_recover. A recoverer knows the label of a dead process, because the
supervisor took it before the fork. The other models have one incarnation of each label; here there is nothing but
incarnations, and they don't wrap around (in words they have 12 bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Access, Await, Broken, Cas, Fault, Load, Model, Steps, Store
from parts import ALIVE, DEAD, FREE, KILLED, LIVE, NOBODY, STOPPED, Control, Suite, Word

FIRST = 1  # the label of incarnation 0; that of incarnation i is FIRST + i


class Size(NamedTuple):
    """How much of everything. The last process lives."""

    processes: int = 2
    objects: int = 1
    rounds: int = 1  # of taking and freeing an object, by each process
    kills: int = 1
    stops: int = 0
    losses: int = 0
    recoverers: int = 2


class Incarnations(Model):
    """The model. `broken` names the rule that it breaks, none if empty."""

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        numbers = range(size.processes)
        self.row = self.cell("row", Word(FREE, NOBODY, 0))
        self.words = [self.cell(f"word[{i}]", Word("FREE", NOBODY, 1)) for i in range(size.objects)]
        self.kills = self.cell("kills left", size.kills)
        self.stops = self.cell("stops left", size.stops)
        self.losses = self.cell("losses left", size.losses)
        self.nowhere = self.cell("recoverers lost", "")
        self.fates = [self.cell(f"fate of process {number + 1}", ALIVE) for number in numbers]
        self.labels = [self.cell(f"(label of process {number + 1})", NOBODY) for number in numbers]
        for number in numbers:
            fate = self.fates[number]
            killed = Fault("is KILLED", self.kills, fate, KILLED)
            stopped = Fault("is STOPPED for ever", self.stops, fate, STOPPED)
            faults = (killed, stopped) if number != numbers[-1] else ()
            self.process(f"process {number + 1}", partial(self.worker, number), faults)
        loss = Fault("is killed, or stopped for ever", self.losses, self.nowhere, "one")
        self.add_twins("recoverer", size.recoverers, self.recoverer, (loss,))

    # ---------------------------------------------------------------------------------------------- the processes

    def worker(self, number: int) -> Steps[None]:
        me = yield from self._join(number)
        for _ in range(self.size.rounds):
            yield from self._use(me)
        yield Await(lambda cells: None, "lives on")

    # lq_roster_join
    def _join(self, number: int) -> Steps[int]:
        label: int | None = None
        while label is None:
            label = yield from self._join_once(number)
        return label

    def _join_once(self, number: int) -> Steps[int | None]:
        yield Await(lambda cells: cells[self.row].state == FREE or None, "the roster is full")
        word = yield Load(self.row)
        if word.state != FREE:
            return None
        label: int = FIRST + word.generation
        live = word.as_(LIVE, NOBODY)
        taken = yield Cas(self.row, word, live, "roster_join:taken", partial(self._is_label, number, label))
        return label if taken else None

    def _is_label(self, number: int, label: int, cells: list[Any]) -> None:
        cells[self.labels[number]] = label

    def _use(self, me: int) -> Steps[None]:
        index = yield Await(self._free)
        word = yield Load(self.words[index])
        mine = word.as_("WRITING", me)
        if word.state == "FREE" and (yield Cas(self.words[index], word, mine, "taken")):
            yield Store(self.words[index], mine.next("FREE", NOBODY), "freed", over=(mine,))

    def _free(self, cells: Sequence[Any]) -> int | None:
        return next((index for index, at in enumerate(self.words) if cells[at].state == "FREE"), None)

    # --------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self) -> Steps[None]:
        while True:
            dead = yield Await(self._unreleased)
            yield from self._recover(dead)

    def _unreleased(self, cells: Sequence[Any]) -> int | None:
        row = cells[self.row]
        for fate, label in zip(self.fates, self.labels, strict=True):
            is_dead = cells[fate] == KILLED or self.broken == "death_without_proof"
            if is_dead and cells[label] == FIRST + row.generation and row.state != FREE:
                return int(cells[label])
        return None

    # lq_roster_bury, one pass of lq_space_recover, and lq_roster_release if it found nothing
    def _recover(self, dead: int) -> Steps[None]:
        yield from self._bury(dead)
        found = False
        for index in range(self.size.objects if self.broken != "release_without_a_pass" else 0):
            found |= yield from self._recover_object(index, dead)
        if not found:
            yield from self._release(dead)

    def _bury(self, dead: int) -> Steps[None]:
        word = yield Load(self.row)
        if (word.state, FIRST + word.generation) == (LIVE, dead):
            yield self._to_row(word, word.as_(DEAD, NOBODY), "bury", "roster_bury")

    def _release(self, dead: int) -> Steps[None]:
        word = yield Load(self.row)
        if (word.state, FIRST + word.generation) == (DEAD, dead):
            same = self.broken == "same_incarnation_again"
            free = word.as_(FREE, NOBODY) if same else word.next(FREE, NOBODY)
            yield self._to_row(word, free, "release", "roster_release")

    def _to_row(self, word: Word, wanted: Word, what: str, point: str) -> Access:
        if self.broken == f"blind_{what}":
            return Store(self.row, wanted, point)
        return Cas(self.row, word, wanted, point)

    def _recover_object(self, index: int, dead: int) -> Steps[bool]:
        word = yield Load(self.words[index])
        if word.label == NOBODY or (word.label != dead and self.broken != "any_label_is_recovered"):
            return False
        free = word.next("FREE", NOBODY)
        if self.broken == "blind_free":
            yield Store(self.words[index], free, "freed")
        else:
            yield Cas(self.words[index], word, free, "freed")
        return True

    # ------------------------------------------------------------------------------------------------- the checks

    def always(self, cells: Sequence[Any]) -> None:
        row = cells[self.row]
        present = FIRST + row.generation if row.state != FREE else None
        for at in self.words:
            if cells[at].label not in (NOBODY, present):
                raise Broken(f"a label was released, and a word still bears it: {cells[at]}")
        for fate, label in zip(self.fates, self.labels, strict=True):
            if cells[label] != NOBODY and cells[fate] != KILLED and (cells[label] != present or row.state != LIVE):
                raise Broken(f"the row of a live process is taken from it: {row}")

    def settled(self, cells: Sequence[Any]) -> bool:
        if self._unreleased(cells) is not None:
            return False
        fates = {cells[label]: cells[fate] for label, fate in zip(self.labels, self.fates, strict=True)}
        fates[NOBODY] = ALIVE
        return all(cells[at].state == "FREE" or fates[cells[at].label] == STOPPED for at in self.words)


_PAIR = Size()

SUITE = Suite(
    "roster",
    Incarnations,
    small=(_PAIR._replace(stops=1, losses=1), Size(processes=3, kills=2)),
    large=(Size(processes=3, kills=2, losses=1, objects=2), Size(processes=4, kills=3)),
    controls={
        "death_without_proof": Control("a process is taken for dead that still acts", _PAIR),
        "release_without_a_pass": Control("a label is released, and nobody has looked for it", _PAIR),
        "same_incarnation_again": Control("a released row keeps its incarnation", _PAIR),
        "blind_bury": Control("a row is buried with a plain store", _PAIR),
        "blind_release": Control("a row is released with a plain store", _PAIR),
        "any_label_is_recovered": Control("recovery does not compare incarnations", _PAIR),
        "blind_free": Control("recovery frees an object with a plain store", _PAIR),
    },
)
