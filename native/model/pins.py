# SPDX-License-Identifier: MIT
"""Pins: a block that somebody looks at while its holder lets go of it. A holder, two who pin, a task that a pin may be
tied to, and two recoverers, any of whom but the last may be killed or stopped.

To be laid beside lq_pin.c and the part of lq_arena.c that is called pins (let_go_, settle, is_kept_, pin, unpin), with
drop, drop_for and recover. There is one block, and a table has one entry; `pins_end` is not here. `blocks` has the
payload's way through slots and its readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Await, Broken, Cas, Fault, Load, Model, Steps, Store
from parts import ALIVE, DEAD, FREE, KILLED, LIVE, NOBODY, STOPPED, Control, Suite, Word

HOLDER, FIRST, SECOND, HELPER, LAST = 1, 2, 3, 4, 5
NAMES = ("holder", "first", "second", "helper", "last")
TABLES = 3  # the recoverers pin nothing
SEEN = 1


class Entry(NamedTuple):
    """An entry of a table."""

    label: int
    generation: int
    lifted: bool = False

    def __str__(self) -> str:
        return f"({self.label}) g{self.generation}{' lifted' if self.lifted else ''}"


class Size(NamedTuple):
    """What they do. `way`: of the holder. It may "hold" and drop, "pin" before it does so, "put" what lives by its pin
    alone, or "return" what it has pinned."""

    way: str = "hold"
    second: bool = True
    shares: bool = False  # the second one comes when the first is gone, into its row and table
    tied: bool = False  # the first one's pin, to a task
    helper: bool = False  # a recoverer beside the last one
    stand_in: bool = (
        False  # the helper is alone, and a thread of the second one's process: one label. The first keeps looking
    )
    mortals: tuple[int, ...] = (HOLDER, FIRST)
    kills: int = 1
    stops: int = 0


class Pins(Model):
    """The model. `broken` names the rule that it breaks, none if empty."""

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        self.kills = self.cell("kills left", size.kills)
        self.stops = self.cell("stops left", size.stops)
        self.fates = [self.cell(f"fate of {name}", ALIVE) for name in NAMES]
        tables = [HOLDER, FIRST, FREE if size.shares or not size.second else SECOND, HELPER, LAST]
        self.rows = [self.cell(f"row {i}", Word(LIVE if at != FREE else FREE, i + 1, 0)) for i, at in enumerate(tables)]
        self.entries = [self.cell(f"entry of {i}", None) for i in range(TABLES)]
        self.block = self.cell("block", Word("OWNED", HOLDER, 1))
        self.backref = self.cell("backref", "")
        self.object = self.cell("object", Word("WRITING", HOLDER, 1))
        self.task = self.cell("task", "QUEUED" if size.tied else "CACHED")
        self.beliefs = [self.cell(f"({name} looks at)", 0) for name in NAMES[:TABLES]]  # a generation, for the checks
        self.process("holder", self.holder, self._faults(HOLDER))
        self.process("first", partial(self.looker, FIRST), self._faults(FIRST))
        if size.second:
            self.process("second", partial(self.looker, SECOND), self._faults(SECOND))
        if size.tied:
            self.process("worker", self.worker)
        if size.helper:
            me = SECOND if size.stand_in else HELPER
            self.process("helper", partial(self.recoverer, me), self._faults(HELPER))
        if not size.stand_in:
            self.process("last", partial(self.recoverer, LAST))

    def _faults(self, label: int) -> tuple[Fault, ...]:
        if label not in self.size.mortals:
            return ()
        fate = self.fates[label - 1]
        return Fault("is KILLED", self.kills, fate, KILLED), Fault("is STOPPED for ever", self.stops, fate, STOPPED)

    def _table(self, label: int) -> int:
        return FIRST - 1 if self.size.shares and label == SECOND else label - 1

    # -------------------------------------------------------------------------------------------------- who looks

    def looker(self, me: int) -> Steps[None]:
        if self.size.shares and me == SECOND:
            yield from self._join(me)
        seen = yield Load(self.block)
        kept = yield from self._pin(me, seen.generation)
        if kept and not (self.size.stand_in and me == FIRST):
            yield from self._unpin(me, seen.generation)

    # lq_roster_join, into the row of one that was released
    def _join(self, me: int) -> Steps[None]:
        row = self.rows[self._table(me)]
        word = yield Await(lambda cells: cells[row] if cells[row].state == FREE else None)
        yield Cas(row, word, Word(LIVE, me, 0), "roster_join:taken")

    # lq_arena_pin
    def _pin(self, me: int, generation: int) -> Steps[bool]:
        entry = self.entries[self._table(me)]
        if self.broken == "pin_is_not_checked":
            yield Store(entry, Entry(me, generation), "pins_note:noted", (None,), partial(self._looks, me, generation))
            return True
        yield Store(entry, Entry(me, generation), "pins_note:noted", (None,))
        kept: bool | None = None
        while kept is None:
            kept = yield from self._is_kept_once(me, generation)
        if not kept and self.broken == "failed_pin_is_not_settled":
            yield Store(entry, None, "pins_erase:erased")
        elif not kept:
            yield from self._unpin(me, generation)
        return kept

    def _looks(self, me: int, generation: int, cells: list[Any]) -> None:
        cells[self.beliefs[me - 1]] = generation

    # is_kept_: None when a swap was lost
    def _is_kept_once(self, me: int, generation: int) -> Steps[bool | None]:
        seen = yield Load(self.block, also=partial(self._looks_if_there, me, generation))
        if seen.generation != generation:
            return False
        if self._is_marked(me, seen):
            return True
        if self._may_be_marked(me, seen):
            marked = Word(seen.state, seen.label, generation, SEEN)
            done = yield Cas(self.block, seen, marked, "", partial(self._looks, me, generation))
            return True if done else None
        if seen.state != "DYING":
            return False
        pinned = seen.as_("PINNED", NOBODY)
        done = yield Cas(self.block, seen, pinned, "arena_pin:saved", partial(self._looks, me, generation))
        return True if done else None

    def _may_be_marked(self, me: int, seen: Word) -> bool:
        return seen.state == "HELD" or (seen.state == "OWNED" and seen.label == me)

    def _is_marked(self, me: int, seen: Word) -> bool:
        if seen.state == "DYING":
            return self.broken == "dying_is_not_saved"
        blind = self.broken == "seen_is_not_set" or (seen.state == "OWNED" and self.broken == "owned_is_not_marked")
        return seen.state == "PINNED" or (self._may_be_marked(me, seen) and (seen.aux == SEEN or blind))

    def _looks_if_there(self, me: int, generation: int, cells: list[Any]) -> None:
        seen = cells[self.block]
        if seen.generation == generation and self._is_marked(me, seen):
            cells[self.beliefs[me - 1]] = generation

    # lq_arena_unpin
    def _unpin(self, me: int, generation: int) -> Steps[None]:
        entry = self.entries[self._table(me)]
        if self.broken == "erased_before_it_is_settled":
            yield Store(entry, None, "pins_erase:erased", also=partial(self._looks, me, 0))
            yield from self._settle(me, generation)
            return
        yield Store(entry, Entry(me, generation, lifted=True), "pins_lift:lifted", also=partial(self._looks, me, 0))
        yield from self._settle(me, generation)
        yield Store(entry, None, "pins_erase:erased")

    # ----------------------------------------------------------------------------------------------- who lets go

    # lq_arena_settle
    def _settle(self, me: int, generation: int) -> Steps[None]:
        done = False
        while not done:
            seen = yield Load(self.block)
            mine = "PINNED", "DYING" if self.broken != "no_taking_over" else ""
            done = seen.state not in mine or seen.generation != generation
            if not done:
                done = yield from self._let_go(me, seen)

    # let_go_
    def _let_go(self, me: int, seen: Word) -> Steps[bool]:
        found = False
        if self.broken == "scan_before_the_swap":
            found = yield from self._any(seen.generation)
        count = 0 if self.broken == "looks_are_not_counted" else (seen.aux + 1) % 16
        dying = Word("DYING", me, seen.generation, count)
        if not (yield Cas(self.block, seen, dying, "arena_let_go:dying")):
            return False
        if self.broken not in ("scan_before_the_swap", "settled_without_looking"):
            found = yield from self._any(seen.generation)
        if found:
            yield Cas(self.block, dying, dying.as_("PINNED", NOBODY), "arena_let_go:pinned")
            return True
        owned = dying.next("OWNED", me)
        if (yield Cas(self.block, dying, owned, "arena_let_go:owned")):
            yield Cas(self.block, owned, owned.next("FREE", NOBODY), "arena_free:freed")
        return True

    # lq_pins_any
    def _any(self, generation: int) -> Steps[bool]:
        for table in range(TABLES):
            row = yield Load(self.rows[table])
            if row.state != FREE:
                entry = yield Load(self.entries[table])
                if entry == Entry(row.label, generation):
                    counts = yield from self._counts(row)
                    if counts:
                        return True
        return False

    # counts_
    def _counts(self, row: Word) -> Steps[bool]:
        if row.state == LIVE or self.broken == "pins_of_the_dead_count":
            return True
        tied = yield from self._is_tied(row.label)
        return tied

    # lq_pins_is_tied
    def _is_tied(self, label: int) -> Steps[bool]:
        if not self.size.tied or label != FIRST or self.broken == "ties_are_ignored":
            return False
        task = yield Load(self.task)
        return bool(task == "QUEUED")

    # ------------------------------------------------------------------------------------- the holder, and the task

    def worker(self) -> Steps[None]:
        yield Store(self.task, "CACHED", "ran, and its result is taken")

    def holder(self) -> Steps[None]:
        if self.size.way != "hold":
            yield from self._pin(HOLDER, 1)
        word = yield Load(self.block, own=True)
        if self.size.way in ("hold", "pin"):
            yield Store(self.backref, "object", "arena_hold:named")
            yield Store(self.block, word.as_("HELD", NOBODY), "arena_hold:held", (word,))
            yield from self._drop()
        elif self.size.way == "put":
            yield Store(self.block, word.as_("PINNED", NOBODY), "arena_loosen:loose", (word,))
        else:
            yield from self._return(word)
        word = yield Load(self.object, own=True)
        yield Store(self.object, word.next("FREE", NOBODY), "evict:freed", (word,))
        if self.size.way != "hold":
            yield from self._unpin(HOLDER, 1)

    # lq_arena_drop
    def _drop(self) -> Steps[None]:
        done = False
        while not done:
            seen = yield Load(self.block)
            if seen.state != "HELD":
                return
            if seen.aux != 0:
                done = yield from self._let_go(HOLDER, seen)
            else:
                owned = seen.next("OWNED", HOLDER)
                done = yield Cas(self.block, seen, owned, "arena_drop:owned")
                if done:
                    yield Cas(self.block, owned, owned.next("FREE", NOBODY), "arena_free:freed")

    # lq_arena_return
    def _return(self, word: Word) -> Steps[None]:
        if word.aux != 0:
            yield from self._let_go(HOLDER, word)
        else:
            yield Cas(self.block, word, word.next("FREE", NOBODY), "arena_free:freed")

    # --------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self, me: int) -> Steps[None]:
        while True:
            dead = yield Await(partial(self._unreleased, me))
            yield from self._recover(me, dead)

    def _unreleased(self, me: int, cells: Sequence[Any]) -> int | None:
        for label in range(1, len(NAMES) + 1):
            row = cells[self.rows[self._table(label)]]
            if cells[self.fates[label - 1]] == KILLED and row.label == label and row.state != FREE and label != me:
                return label
        return None

    # one pass of lq_space_recover
    def _recover(self, me: int, dead: int) -> Steps[None]:
        row = self.rows[self._table(dead)]
        yield Cas(row, Word(LIVE, dead, 0), Word(DEAD, dead, 0), "roster_bury")
        found = yield from self._recover_object(me, dead)
        if dead <= TABLES:
            found |= yield from self._recover_pin(me, dead)
        found |= yield from self._recover_block(me, dead)
        if not found:
            yield Cas(row, Word(DEAD, dead, 0), Word(FREE, dead, 0), "roster_release")

    # recover_slot_, of WRITING
    def _recover_object(self, me: int, dead: int) -> Steps[bool]:
        word = yield Load(self.object)
        if word.label != dead:
            return False
        done = False
        while not done:
            done = yield from self._drop_for_once(me, word)
        yield Cas(self.object, word, word.next("FREE", NOBODY), "recover:freed")
        return True

    # lq_arena_drop_for: False when it has to be done again
    def _drop_for_once(self, me: int, guard: Word) -> Steps[bool]:
        seen = yield Load(self.block)
        if seen.state != "HELD" or (yield Load(self.object)) != guard:
            return True
        if seen.aux != 0:
            done = yield from self._let_go(me, seen)
            return done
        done = yield Cas(self.block, seen, seen.next("FREE", NOBODY), "arena_drop_for:freed")
        return bool(done or self.broken == "drop_for_gives_up")

    # recover_pins_
    def _recover_pin(self, me: int, dead: int) -> Steps[bool]:
        at = self.entries[self._table(dead)]
        entry = yield Load(at)
        if entry is None or (entry.label != dead and self.broken != "next_one_s_entry_is_cleared"):
            return False
        if not entry.lifted:
            tied = yield from self._is_tied(dead)
            if tied:
                return self.broken != "released_with_a_tie"
        if self.broken == "cleared_before_it_is_settled":
            yield Cas(at, entry, None, "arena_recover:unpinned")
        yield from self._settle(me, entry.generation)
        if self.broken != "cleared_before_it_is_settled":
            yield Cas(at, entry, None, "arena_recover:unpinned")
        return True

    # recover_blocks_
    def _recover_block(self, me: int, dead: int) -> Steps[bool]:
        seen = yield Load(self.block)
        if seen.label != dead:
            return False
        may_be_pinned = seen.state == "DYING" or (seen.state == "OWNED" and seen.aux != 0)
        if may_be_pinned and self.broken != "dying_of_the_dead_is_freed":
            yield from self._let_go(me, seen)
        else:
            yield Cas(self.block, seen, seen.next("FREE", NOBODY), "arena_recover:freed")
        return True

    # ------------------------------------------------------------------------------------------------- the checks

    def always(self, cells: Sequence[Any]) -> None:
        block = cells[self.block]
        for label in range(1, TABLES + 1):
            needs = cells[self.fates[label - 1]] != KILLED
            needs |= self.size.tied and label == FIRST and cells[self.task] == "QUEUED"
            if needs and cells[self.beliefs[label - 1]] not in (0, block.generation):
                raise Broken(f"the {NAMES[label - 1]} one looks at a block that was given back: {block}")
        for table, at in enumerate(self.entries):
            row = cells[self.rows[table]]
            if cells[at] is not None and (row.state == FREE or row.label != cells[at].label):
                raise Broken(f"a row was released, and its table has an entry: {cells[at]}")
        if block.label != NOBODY and not self.size.shares and cells[self.rows[block.label - 1]].state == FREE:
            raise Broken(f"a label was released, and the block still bears it: {block}")

    def settled(self, cells: Sequence[Any]) -> bool:
        """Nothing of the dead is left, and the block is somebody's, or free."""
        if self._unreleased(0, cells) is not None:
            return False
        block = cells[self.block]
        if block.state == "HELD":
            return bool(cells[self.object].state != "FREE")
        if block.label != NOBODY:
            return bool(cells[self.fates[block.label - 1]] != KILLED)
        if block.state != "PINNED":
            return True
        return any(cells[at] is not None for at in self.entries)


_BARE = Size(second=False)
_PAIR = Size(kills=0)
_NEXT = Size(shares=True, mortals=(FIRST,))
_STAND_IN = Size(way="put", helper=True, stand_in=True, mortals=(HOLDER,))

SUITE = Suite(
    "pins",
    Pins,
    small=(
        _BARE,
        _BARE._replace(helper=True, mortals=(FIRST, HELPER), kills=2),
        _PAIR,
        _BARE._replace(way="pin"),
        _BARE._replace(way="put", tied=True),
        _BARE._replace(way="return"),
        _NEXT,
    ),
    large=(
        Size(),
        Size(stops=1, kills=0, mortals=(HOLDER, FIRST, SECOND)),
        _BARE._replace(way="pin", tied=True, kills=2),
        _BARE._replace(helper=True),
    ),
    controls={
        "pin_is_not_checked": Control("who notes a pin does not look whether the block is still there", _BARE),
        "seen_is_not_set": Control("a pin does not tell the holder that there is one", _BARE),
        "owned_is_not_marked": Control("a pin of what one owns does not stay with it", _BARE._replace(way="pin")),
        "dying_is_not_saved": Control("a pin takes what is dying for kept", _PAIR),
        "settled_without_looking": Control("who lets go does not look for pins", _BARE._replace(kills=0)),
        "scan_before_the_swap": Control("who lets go looks for pins before it says so", _PAIR),
        "no_taking_over": Control("who unpins leaves the block to another who looks", _PAIR),
        "erased_before_it_is_settled": Control("unpin erases the entry before it looks who is left", _BARE),
        "failed_pin_is_not_settled": Control("a pin that comes to nothing is erased, no more", _PAIR),
        "drop_for_gives_up": Control("drop_for gives up when a pin comes in between", _BARE),
        "cleared_before_it_is_settled": Control(
            "recovery clears an entry before it settles the block",
            _BARE._replace(helper=True, kills=2, mortals=(FIRST, HELPER)),
        ),
        "next_one_s_entry_is_cleared": Control("recovery clears whatever entry it finds", _NEXT._replace(helper=True)),
        "dying_of_the_dead_is_freed": Control("recovery frees what the dead was about to look for pins of", _BARE),
        "pins_of_the_dead_count": Control("pins of the dead count, tied or not", _BARE),
        "ties_are_ignored": Control("pins of the dead never count", _BARE._replace(tied=True)),
        "released_with_a_tie": Control("a label is released while a tie is left", _BARE._replace(tied=True)),
        "looks_are_not_counted": Control("two looks under one label can't be told apart", _STAND_IN),
    },
)
