# SPDX-License-Identifier: MIT
"""What the models share: the word (lq_word.h), the ring (lq_ring.h), the rows of the roster as far as labels need
them.

Positions, generations and incarnations don't wrap around here, and a ring may have any number of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Access, Broken, Cas, Fault, Load, Model, Steps

NOBODY = 0
ALIVE, KILLED, STOPPED = "alive", "killed", "stopped"
LIVE, DEAD, FREE = "LIVE", "DEAD", "FREE"

OK, FULL, EMPTY, RETRY = "OK", "FULL", "EMPTY", "RETRY"


class Word(NamedTuple):
    """An object's word. `label`: the number of a process, or NOBODY."""

    state: str
    label: int
    generation: int
    aux: int = 0

    def __str__(self) -> str:
        label = f"({self.label})" if self.label else ""
        aux = f" aux {self.aux}" if self.aux else ""
        return f"{self.state}{label} g{self.generation}{aux}"

    def as_(self, state: str, label: int) -> Word:
        return Word(state, label, self.generation, self.aux)

    def next(self, state: str, label: int, aux: int = 0) -> Word:
        return Word(state, label, self.generation + 1, aux)


class Entry(NamedTuple):
    """A cell of a ring."""

    cycle: int
    slot: int = 0
    generation: int = 0

    def __str__(self) -> str:
        return f"cycle {self.cycle}: slot {self.slot} g{self.generation}" if self.cycle else "cycle 0"


class Ring:
    """Head, tail and cells in a model's memory, and the operations on them, each as its steps."""

    def __init__(self, model: Model, name: str, cells: int, broken: str) -> None:
        self.size = cells
        self.broken = broken
        self.head = model.cell(f"{name}.head", cells)  # positions begin in cycle 1: cycle 0 is memory never touched
        self.tail = model.cell(f"{name}.tail", cells)
        self.cells = [model.cell(f"{name}.cell[{i}]", Entry(0)) for i in range(cells)]

    def at(self, position: int) -> int:
        """The cell of a position."""
        return self.cells[position % self.size]

    # lq_ring_push

    def push(self, index: int, generation: int) -> Steps[str]:
        outcome = RETRY
        while outcome is RETRY:
            outcome = yield from self._push_once(index, generation)
        return outcome

    def _push_once(self, index: int, generation: int) -> Steps[str]:
        tail = yield Load(self.tail)
        seen = yield Load(self.at(tail))
        cycle = tail // self.size
        if seen.cycle == cycle:  # filled, but its producer has not moved the tail: help
            if self.broken != "no_help":
                yield Cas(self.tail, tail, tail + 1, "help")
            return RETRY
        if seen.cycle != cycle - 1:
            yield Load(self.tail, also=partial(self._has_moved, tail))
            return RETRY  # the tail in hand is old
        head = yield Load(self.head, also=partial(self._no_false_alarm, tail))
        if self._is_full(tail, head):
            return FULL
        entry = Entry(cycle, index, generation)
        if not (yield self._fill(tail, seen, entry)):
            return RETRY
        yield Cas(self.tail, tail, tail + 1, "ring_push:moved")
        return OK

    def _fill(self, tail: int, seen: Entry, entry: Entry) -> Access:
        return Cas(self.at(tail), seen, entry, "[P1] ring_push:written", partial(self._was_passed, tail))

    def _is_full(self, tail: int, head: int) -> bool:
        if self.broken == "no_full_check":
            return False
        if self.broken == "unsigned_full_check":
            return (tail - head) % 2**64 >= self.size
        return tail - head >= self.size

    def _no_false_alarm(self, tail: int, cells: list[Any]) -> None:
        if self._is_full(tail, cells[self.head]) and cells[self.tail] - cells[self.head] < self.size:
            raise Broken("a ring with room is called full")

    def _has_moved(self, tail: int, cells: list[Any]) -> None:
        if cells[self.tail] == tail:
            raise Broken("a sound ring is called corrupt")

    def _was_passed(self, tail: int, cells: list[Any]) -> None:
        if cells[self.head] <= tail - self.size:
            raise Broken("a cell is overwritten before it was passed")

    # lq_ring_peek, lq_ring_advance

    def peek(self) -> Steps[tuple[int, Entry] | None]:
        found: tuple[int, Entry] | str | None = RETRY
        while isinstance(found, str):
            found = yield from self._peek_once()
        return found

    def _peek_once(self) -> Steps[tuple[int, Entry] | str | None]:
        head = yield Load(self.head)
        seen = yield Load(self.at(head))
        if seen.cycle == head // self.size:
            return head, seen
        again = yield Load(self.head)
        return None if again == head else RETRY

    def advance(self, position: int) -> Access:
        return Cas(self.head, position, position + 1, "ring_advance:moved")

    # for checks

    def is_filled(self, cells: Sequence[Any]) -> bool:
        """Is there something to take?"""
        head: int = cells[self.head]
        return bool(cells[self.at(head)].cycle == head // self.size)

    def has_room(self, cells: Sequence[Any]) -> bool:
        return bool(cells[self.tail] - cells[self.head] < self.size)

    def holds(self, cells: Sequence[Any], index: int, generation: int) -> bool:
        """Is it there, at the head or behind it?"""
        position: int = cells[self.head]
        while cells[self.at(position)].cycle == position // self.size:
            if cells[self.at(position)][1:] == (index, generation):
                return True
            position += 1
        return False


class Roster:
    """A row for each labelled process, with one incarnation: LIVE, DEAD once it is buried, FREE once it is released.
    And what has really become of the process, which only the kernel knows."""

    def __init__(self, model: Model, names: Sequence[str], kills: int, stops: int, losses: int) -> None:
        self.names = names
        self.kills = model.cell("kills left", kills)
        self.stops = model.cell("stops left", stops)
        self.losses = model.cell("losses left", losses)
        self.nowhere = model.cell("recoverers lost", "")
        self.rows = [model.cell(f"row of {name}", LIVE) for name in names]
        self.fates = [model.cell(f"fate of {name}", ALIVE) for name in names]

    def row(self, label: int) -> int:
        """Where the row of a label is: labels count from 1."""
        return self.rows[label - 1]

    def fate(self, cells: Sequence[Any], label: int) -> str:
        return str(cells[self.fates[label - 1]])

    def faults(self, label: int) -> tuple[Fault, ...]:
        """It may be killed, or stopped for ever."""
        fate = self.fates[label - 1]
        return Fault("is KILLED", self.kills, fate, KILLED), Fault("is STOPPED for ever", self.stops, fate, STOPPED)

    def losses_of(self) -> tuple[Fault, ...]:
        """For a process without a label, dead or stopped is the same."""
        return (Fault("is killed, or stopped for ever", self.losses, self.nowhere, "one"),)

    def unreleased(self, cells: Sequence[Any]) -> int | None:
        """A label whose process the kernel has proven dead, and which still is to be released."""
        for label in range(1, len(self.names) + 1):
            if cells[self.fates[label - 1]] == KILLED and cells[self.rows[label - 1]] != FREE:
                return label
        return None

    def bury(self, label: int) -> Access:
        return Cas(self.row(label), LIVE, DEAD, "roster_bury")

    def release(self, label: int) -> Access:
        return Cas(self.row(label), DEAD, FREE, "roster_release")

    def check_released(self, cells: Sequence[Any], words: Sequence[int]) -> None:
        """A label that was released is borne by no word."""
        for at in words:
            label = cells[at].label
            if label != NOBODY and cells[self.row(label)] == FREE:
                raise Broken(
                    f"the label of {self.names[label - 1]} was released, and a word still bears it: {cells[at]}"
                )


class Control(NamedTuple):
    """A rule that is broken on purpose, and a size at which that must show."""

    rule: str  # what is done instead
    size: Any


class Suite(NamedTuple):
    """All that one file has to be checked for. Sizes are named tuples of that file."""

    name: str
    build: Callable[[Any, str], Model]  # from a size and the rule to break, none if empty
    small: Sequence[Any]
    large: Sequence[Any]
    controls: Mapping[str, Control]
