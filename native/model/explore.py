# SPDX-License-Identifier: MIT
"""Visit every state that a model can reach, breadth first, so that what goes wrong is shown by a shortest way to it.

A state is what all cells hold and where every process stands. Each step is one access of one process, or one fault.
Three things count as broken: an access or `Model.always` objects; nobody can go on, and it is not `Model.settled`;
the others can go on, but whatever they do they never get to a settled state (without further faults, which could
mend it).

Used by `check`. Accesses are sequentially consistent here: what weaker memory adds is left to ThreadSanitizer.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from machine import BLOCKED, GONE, Access, Broken, Fault, Model, Process

State = tuple[Any, ...]  # the cells, then the local state of each process

STUCK = "nothing more happens, and not everything is settled"
NEVER = "however the others go on, not everything gets settled"


class Verdict(NamedTuple):
    """What came of it. `problem` is empty when the model holds; `trace` is a line for each step."""

    states: int
    seconds: float
    problem: str
    trace: list[str]


class _Objection(Exception):
    """The first problem: what it is, the number of the state it was met in, and the step if that one was refused."""

    def __init__(self, problem: str, number: int, refused: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.number = number
        self.refused = refused


class Search:
    """One visit of one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.processes = list(enumerate(model.processes, len(model.cells)))  # with where their local states are
        self.states: list[State] = []
        self.numbers: dict[State, int] = {}
        self.parents = array("l")
        self.settled = bytearray()
        # The steps that are no faults: those of state i lead to targets[ends[i - 1]:ends[i]].
        self.targets = array("l")
        self.ends = array("l")

    def run(self) -> Verdict:
        began = time.process_time()
        problem, trace = "", []
        try:
            self._visit()
            self._look_for_dead_ends()
        except _Objection as objection:
            problem = objection.problem
            trace = list(self._trace(objection.number))
            trace += [objection.refused] if objection.refused else []
        return Verdict(len(self.states), time.process_time() - began, problem, trace)

    def _first(self) -> list[Any]:
        cells = [*self.model.cells, *(process.program.start for process in self.model.processes)]
        for at, process in self.processes:
            self._read_own(process, cells, at)
        return cells

    def _visit(self) -> None:
        self._add(self._first(), -1)
        for number, state in enumerate(self.states):  # which grows meanwhile
            before = len(self.targets)
            for at, process in self.processes:
                if state[at] != GONE:
                    self._expand(number, state, at, process)
            self.ends.append(len(self.targets))
            if len(self.targets) == before and not self.settled[number]:
                raise _Objection(STUCK, number)

    def _add(self, cells: list[Any], parent: int) -> int:
        state = self._canonical(cells)
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self.parents.append(parent)
            try:
                self.model.always(state)
            except Broken as broken:
                raise _Objection(str(broken), number) from broken
            self.settled.append(self.model.settled(state))
        return number

    def _canonical(self, cells: list[Any]) -> State:
        """Twins in order: it is all one which of them is where."""
        twins = self.model.twins
        if twins:
            cells = cells[:-twins] + sorted(cells[-twins:])
        return tuple(cells)

    def _expand(self, number: int, state: State, at: int, process: Process) -> None:
        """Add what a step of the process leads to, and what its faults do."""
        access = process.program.accesses[state[at]]
        if access is not None:
            for way in range(access.outcomes(state)):
                cells = list(state)
                try:
                    if self._do(process, access, cells, at, way):
                        self.targets.append(self._add(cells, number))
                except Broken as broken:
                    refused = f"{process.name:<12} {self._told(access, state, state)}"
                    raise _Objection(str(broken), number, refused) from broken
        for fault in process.faults:
            if state[fault.budget] > 0:
                self._add(self._strike(fault, state, at), number)

    def _do(self, process: Process, access: Access, cells: list[Any], at: int, way: int) -> bool:
        """The access, and what the process makes of it. False when it can't be made now."""
        result = access.do(cells, way)
        if result is BLOCKED:
            return False
        program = process.program
        after = program.moves[cells[at]].get(result)
        cells[at] = program.after(cells[at], result) if after is None else after
        self._read_own(process, cells, at)
        return True

    def _read_own(self, process: Process, cells: list[Any], at: int) -> None:
        program = process.program
        while program.reads_own[cells[at]] is not None:
            seen = cells[program.reads_own[cells[at]]]
            after = program.moves[cells[at]].get(seen)
            cells[at] = program.after(cells[at], seen) if after is None else after

    def _strike(self, fault: Fault, state: State, at: int) -> list[Any]:
        cells = list(state)
        cells[fault.budget] -= 1
        cells[fault.fate] = fault.becomes
        cells[at] = GONE
        return cells

    def _look_for_dead_ends(self) -> None:
        """Is there a state from which no settled one is reached?"""
        good = bytearray(self.settled)
        changed = True
        while changed:
            changed = False
            end = len(self.targets)
            for number in range(len(self.states) - 1, -1, -1):
                begin = self.ends[number - 1] if number else 0
                if not good[number] and any(good[target] for target in self.targets[begin:end]):
                    good[number] = changed = True
                end = begin
        bad = good.find(0)
        if bad >= 0:
            raise _Objection(NEVER, bad)

    # ------------------------------------------------------------------------------------------------- for people

    def _trace(self, number: int) -> Iterator[str]:
        """The way to a state, with twins kept apart."""
        way = []
        while number >= 0:
            way.append(self.states[number])
            number = self.parents[number]
        now = tuple(self._first())
        for state in way[-2::-1]:
            told, now = next(step for step in self._steps(now) if self._canonical(list(step[1])) == state)
            yield told

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What may happen in a state: in words, and the state after it."""
        for at, process in self.processes:
            if state[at] == GONE:
                continue
            access = process.program.accesses[state[at]]
            for way in range(access.outcomes(state)) if access is not None else ():
                cells = list(state)
                if access is not None and self._do(process, access, cells, at, way):
                    yield f"{process.name:<12} {self._told(access, state, tuple(cells))}", tuple(cells)
            for fault in process.faults:
                if state[fault.budget] > 0:
                    yield f"{process.name:<12} {fault.what}", tuple(self._strike(fault, state, at))

    def _told(self, access: Access, before: State, after: State) -> str:
        """An access in words."""
        names = self.model.names
        kind = type(access).__name__.lower()
        changes = [f"{name} {before[i]} -> {after[i]}" for i, name in enumerate(names) if before[i] != after[i]]
        told = f"{kind:<5} {', '.join(changes)}"
        if not changes:
            seen = f" = {before[access.at]}" if kind == "load" else ""
            told = f"{kind:<5} {names[access.at] if access.at >= 0 else ''}{seen}"
        return f"{told:<72}  {access.point}".rstrip()


def search(model: Model) -> Verdict:
    """Is the model right?"""
    return Search(model).run()
