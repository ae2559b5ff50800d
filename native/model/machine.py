# SPDX-License-Identifier: MIT
"""Processes and shared memory, as far as the models need them.

A process is a generator that yields one `Access` to shared memory at a time and is sent its result, so that its
text can be laid beside the C function of the same name. `Program` turns such a generator into a table of local
states, because a generator can neither be copied nor compared: where it stands in each of its frames and what its
variables hold is its local state, and one that is needed again is reached by replaying what it was sent.

For that table to be right a program keeps all it knows in local variables with immutable values: it loops over
nothing but `range`, and no half of an expression waits for a `yield` that can't be told from the variables. A variable
that is no longer of use still tells states apart: let small generators end, and their variables with them.

Used by the models beside this file and by `explore`. Knows nothing of queues.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

#: What a step of a process does beside its access: look at all of memory, note something for the checks, or object.
Also = Callable[[list[Any]], None]

#: A part of a process: yields accesses, returns a T.
Steps = Generator["Access", Any, T]


class Broken(Exception):
    """A rule of the protocol does not hold."""


class Blocked:
    """What an access says that can't be made now."""


BLOCKED = Blocked()


class Access:
    """One step: an access to one cell, and what the checks note down in the same moment."""

    __slots__ = ("also", "at", "point")

    def __init__(self, at: int, point: str = "", also: Also | None = None) -> None:
        self.at = at
        self.point = point  # as LQ_FAULT or a comment names it in C
        self.also = also

    def outcomes(self, cells: Sequence[Any]) -> int:
        """How many ways it can go."""
        return 1

    def do(self, cells: list[Any], way: int) -> Any:
        """Make it, changing `cells`; what the process gets to know."""
        raise NotImplementedError


class Load(Access):
    """Read a cell. `own`: one that nobody else may change now, so that it makes no difference when it is read, and the
    search takes no step for it. The store or swap that follows must tell if that is not so."""

    __slots__ = ("own",)

    def __init__(self, at: int, point: str = "", also: Also | None = None, own: bool = False) -> None:
        super().__init__(at, point, also)
        self.own = own

    def do(self, cells: list[Any], way: int) -> Any:
        if self.also is not None:
            self.also(cells)
        return cells[self.at]


class Store(Access):
    """Write a cell. `over`: the values that it may replace, where the writer relies on nobody else writing it."""

    __slots__ = ("over", "value")

    def __init__(
        self, at: int, value: Any, point: str = "", over: tuple[Any, ...] = (), also: Also | None = None
    ) -> None:
        super().__init__(at, point, also)
        self.value = value
        self.over = over

    def do(self, cells: list[Any], way: int) -> Any:
        if self.over and cells[self.at] not in self.over:
            raise Broken(f"a plain store of {self.value} over {cells[self.at]}, which somebody else put there")
        cells[self.at] = self.value
        if self.also is not None:
            self.also(cells)
        return None


class Cas(Access):
    """Compare and swap: True when it did. `also` is for a swap that succeeds."""

    __slots__ = ("expected", "wanted")

    def __init__(self, at: int, expected: Any, wanted: Any, point: str = "", also: Also | None = None) -> None:
        super().__init__(at, point, also)
        self.expected = expected
        self.wanted = wanted

    def do(self, cells: list[Any], way: int) -> Any:
        if cells[self.at] != self.expected:
            return False
        cells[self.at] = self.wanted
        if self.also is not None:
            self.also(cells)
        return True


class Raise(Access):
    """Write a number unless there is a greater one: stands for adding to what is taken in any order."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: int, point: str = "") -> None:
        super().__init__(at, point)
        self.value = value

    def do(self, cells: list[Any], way: int) -> Any:
        cells[self.at] = max(cells[self.at], self.value)
        return None


class Swap(Access):
    """Write a cell and learn what was there."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: Any, point: str = "") -> None:
        super().__init__(at, point)
        self.value = value

    def do(self, cells: list[Any], way: int) -> Any:
        before = cells[self.at]
        cells[self.at] = self.value
        return before


class Await(Access):
    """Go on once `news` returns something other than None. It stands for a loop that only looks, or for a sleep."""

    __slots__ = ("news",)

    def __init__(self, news: Callable[[Sequence[Any]], Any], point: str = "") -> None:
        super().__init__(-1, point)
        self.news = news

    def do(self, cells: list[Any], way: int) -> Any:
        found = self.news(cells)
        return BLOCKED if found is None else found


class Maybe(Access):
    """False, or, while the budget in the cell lasts, True as well: a free choice of the process."""

    __slots__ = ()

    def outcomes(self, cells: Sequence[Any]) -> int:
        return 2 if cells[self.at] > 0 else 1

    def do(self, cells: list[Any], way: int) -> Any:
        cells[self.at] -= way
        return way == 1


GONE = 0  # the local state of a process that was killed, or stopped for ever


class Program:
    """The local states of one process, made as they are met. State GONE does nothing, nor does one that has ended."""

    def __init__(self, body: Callable[[], Steps[None]]) -> None:
        self._body = body
        self._known: dict[Hashable, int] = {}
        self._histories: list[tuple[Any, ...]] = [()]
        self.accesses: list[Access | None] = [None]  # what each local state does next
        self.reads_own: list[int | None] = [None]  # the cell that it reads next, when no step is taken for that
        self.moves: list[dict[Any, int]] = [{}]  # the local state after that, by what the access returned
        self.start = self._enter(())

    def after(self, local: int, result: Any) -> int:
        """The local state that follows `local` when its access returned `result`. May raise Broken."""
        found = self._enter((*self._histories[local], result))
        self.moves[local][result] = found
        return found

    def _enter(self, history: tuple[Any, ...]) -> int:
        steps = self._body()
        access: Access | None
        try:
            access = next(steps)
            for result in history:
                access = steps.send(result)
        except StopIteration:
            access = None
        key = _place(steps)
        if key not in self._known:
            self._known[key] = len(self.accesses)
            self.accesses.append(access)
            self.reads_own.append(access.at if isinstance(access, Load) and access.own else None)
            self.moves.append({})
            self._histories.append(history)
        local = self._known[key]
        if _shape(access) != _shape(self.accesses[local]):  # it knows something that is in no variable
            raise TypeError(f"two steps follow one local state: {_shape(access)}, {_shape(self.accesses[local])}")
        return local


def _shape(access: Access | None) -> tuple[Any, ...]:
    """What can be compared of an access: all but its functions."""
    names = [name for kind in type(access).__mro__ for name in getattr(kind, "__slots__", ())]
    return (type(access), *(getattr(access, name) for name in names if name not in ("also", "news")))


def _place(steps: Any) -> Hashable:
    """Where a generator stands, through all that it has handed over to."""
    place: list[Hashable] = []
    while steps is not None and steps.gi_frame is not None:
        frame = steps.gi_frame
        variables = tuple(dict(frame.f_locals).items())
        if any(callable(value) for _, value in variables):  # each replay makes another one, so no two states are equal
            raise TypeError(f"{frame.f_code.co_name} keeps a function in a variable")
        place.append((frame.f_code, frame.f_lasti, variables))
        steps = steps.gi_yieldfrom
    return tuple(place)


class Fault(NamedTuple):
    """What may befall a process before any of its steps, as long as the budget in a cell lasts."""

    what: str
    budget: int
    fate: int  # the cell that says so afterwards ...
    becomes: str  # ... in this word


class Process:
    """A program under a name, and what may befall it."""

    def __init__(self, name: str, program: Program, faults: Sequence[Fault] = ()) -> None:
        self.name = name
        self.program = program
        self.faults = tuple(faults)


class Model:
    """Shared memory, processes, and what must hold. The models beside this file are its subclasses."""

    def __init__(self) -> None:
        self.names: list[str] = []  # of the cells, for people
        self.cells: list[Any] = []  # as they are in the beginning
        self.processes: list[Process] = []
        self.twins = (
            0  # so many processes at the end are alike in everything, and leave no names: which is which is all one
        )

    def process(self, name: str, body: Callable[[], Steps[None]], faults: Sequence[Fault] = ()) -> None:
        """One more process."""
        self.processes.append(Process(name, Program(body), faults))

    def add_twins(self, name: str, count: int, body: Callable[[], Steps[None]], faults: Sequence[Fault] = ()) -> None:
        """Some more processes, the last to be added, of one program and with the same faults."""
        program = Program(body)
        self.processes += [Process(f"{name} {number + 1}", program, faults) for number in range(count)]
        self.twins = count

    def cell(self, name: str, value: Any) -> int:
        """One more cell of memory: where it is."""
        self.names.append(name)
        self.cells.append(value)
        return len(self.cells) - 1

    def always(self, cells: Sequence[Any]) -> None:
        """Raise Broken if these cells must never be."""

    def settled(self, cells: Sequence[Any]) -> bool:
        """Is all done that has to be? From wherever the faults leave the others, they must be able to get here."""
        raise NotImplementedError
