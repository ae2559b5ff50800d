# SPDX-License-Identifier: MIT
"""Spans: cut into blocks, given back when all blocks are free, put together to runs, and all of that recovered.
Users of small and of large blocks, and two recoverers beside each other.

To be laid beside lq_arena.c. A span has two blocks of class 0 or one of class 1; nothing is kept warm, and no hint
says where to search. A large block may be held by an object, as an argument is by its slot: then recovery drops it
by the object's name (lq_arena_drop_for). `blocks` has that for small blocks, with readers and evictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Access, Await, Broken, Cas, Load, Model, Steps, Store
from parts import ALIVE, KILLED, NOBODY, Control, Roster, Suite, Word

MORTAL, IMMORTAL = 1, 2  # labels of the users
BLOCKS = (2, 1)  # a span has, by class


class Size(NamedTuple):
    """How much of everything."""

    spans: int = 1
    wants: int = 0  # of the mortal user: a class, or, from 2 on, a run of so many spans
    others: int = 1  # of the immortal one
    rounds: int = 1
    other_rounds: int = 1
    holds: bool = False  # the mortal user's large block is held by its object
    kills: int = 1
    losses: int = 0
    recoverers: int = 2


class Spans(Model):
    """The model. `broken` names the rule that it breaks, none if empty. Spans count from 0 here."""

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        spans = range(size.spans)
        self.used = self.cell("used", 0)  # so many spans may have been used
        self.spans = [self.cell(f"span[{i}]", Word("FREE", NOBODY, 1)) for i in spans]
        self.runs = [self.cell(f"run[{i}]", 0) for i in spans]
        self.cuts = [self.cell(f"cut[{i}]", 0) for i in spans]
        self.blocks = [[self.cell(f"block[{i}.{j}]", Word("FREE", NOBODY, 1)) for j in range(BLOCKS[0])] for i in spans]
        self.backrefs = [self.cell(f"backref[{i}]", 0) for i in spans]
        self.object = self.cell("object", Word("WRITING", MORTAL, 1) if size.holds else Word("FREE", NOBODY, 1))
        self.named = self.cell("args_block", -1)
        # For the checks: whose each half of each span is, as its user believes.
        self.bytes = [[self.cell(f"(bytes {i}.{j})", NOBODY) for j in range(BLOCKS[0])] for i in spans]
        self.roster = Roster(self, ["user 1", "user 2"], size.kills, 0, size.losses)
        self.process("user 1", partial(self.user, MORTAL), self.roster.faults(MORTAL))
        self.process("user 2", partial(self.user, IMMORTAL))
        if size.kills:
            self.add_twins("recoverer", size.recoverers, self.recoverer, self.roster.losses_of())

    # -------------------------------------------------------------------------------------------------- the users

    def user(self, me: int) -> Steps[None]:
        wants = self.size.wants if me == MORTAL else self.size.others
        for _ in range(self.size.rounds if me == MORTAL else self.size.other_rounds):
            if wants >= len(BLOCKS):
                yield from self._use_run(me, wants)
            else:
                yield from self._use_block(me, wants)

    def _use_block(self, me: int, kind: int) -> Steps[None]:
        found = yield from self._take_block(me, kind)
        if found is not None:
            span, index = found
            word = yield Load(self.blocks[span][index], own=True)
            free = word.next("FREE", NOBODY)
            yield Store(self.blocks[span][index], free, "arena_free:freed", (word,), partial(self._give_up, me))

    def _use_run(self, me: int, spans: int) -> Steps[None]:
        head = yield from self._take_run(me, spans)
        if head is not None:
            if me == MORTAL and self.size.holds:
                yield from self._hold_and_drop(me, head)
            word = yield Load(self.spans[head], own=True)
            yield from self._free_run(head, word, me)

    # lq_client_store_args, lq_arena_hold, lq_arena_drop
    def _hold_and_drop(self, me: int, head: int) -> Steps[None]:
        yield Store(self.named, head, "client_store_args:named")
        word = yield Load(self.spans[head], own=True)
        yield Store(self.backrefs[head], 1, "arena_hold:named")
        held = word.as_("HELD", NOBODY)
        yield Store(self.spans[head], held, "arena_hold:held", (word,))
        yield Cas(self.spans[head], held, held.next("OWNED", me), "arena_drop:owned")

    # ------------------------------------------------------------------------------------------- blocks of a class

    # take_block_: a span of the class, a free one, or one that can be given back
    def _take_block(self, me: int, kind: int) -> Steps[tuple[int, int] | None]:
        found = yield from self._search(me, kind)
        if found is None and (yield from self._retire_all(me)):
            found = yield from self._search(me, kind)
        return found

    def _search(self, me: int, kind: int) -> Steps[tuple[int, int] | None]:
        for span in range(self.size.spans):
            found = yield from self._search_span(me, kind, span)
            if found is not None:
                return span, found
        return None

    # search_class_ and cut_span_, at one span
    def _search_span(self, me: int, kind: int, span: int) -> Steps[int | None]:
        word = yield Load(self.spans[span])
        if word.state == "FREE":
            yield from self._note_used(span)
            yield Store(self.cuts[span], 1)
            cut = Word("CLASS", NOBODY, word.generation, kind)
            if not (yield Cas(self.spans[span], word, cut, "arena_cut:swapped")):
                return None
        elif word.state != "CLASS" or word.aux != kind:
            return None
        found = yield from self._take_in_span(me, span, kind)
        return found

    def _note_used(self, span: int) -> Steps[None]:
        used = yield Load(self.used)
        while used <= span and not (yield Cas(self.used, used, span + 1)):
            used = yield Load(self.used)

    # take_in_span_
    def _take_in_span(self, me: int, span: int, kind: int) -> Steps[int | None]:
        for index in range(BLOCKS[kind]):
            outcome = yield from self._take_at(me, span, index, kind)
            if outcome == "taken":
                return index
            if outcome == "wrong class":
                return None
        return None

    def _take_at(self, me: int, span: int, index: int, kind: int) -> Steps[str]:
        at = self.blocks[span][index]
        word = yield Load(at)
        if word.state != "FREE":
            return ""
        owned = word.as_("OWNED", me)
        if not (yield Cas(at, word, owned, "arena_take:claimed")):
            return ""
        span_word = yield Load(self.spans[span], also=partial(self._take_bytes, span, index, kind, me))
        if (span_word.state, span_word.aux) == ("CLASS", kind) or self.broken == "no_look_at_the_span":
            return "taken"
        yield Cas(at, owned, owned.next("FREE", NOBODY), "given back")
        return "wrong class"

    def _take_bytes(self, span: int, index: int, kind: int, me: int, cells: list[Any]) -> None:
        word = cells[self.spans[span]]
        if (word.state, word.aux) == ("CLASS", kind) or self.broken == "no_look_at_the_span":
            self._mark(self._halves(span, index, kind), me, cells)

    # retire_span_, of all spans
    def _retire_all(self, me: int) -> Steps[bool]:
        retired = False
        for span in range(self.size.spans):
            retired |= yield from self._retire(me, span)
        return retired

    def _retire(self, me: int, span: int) -> Steps[bool]:
        word = yield Load(self.spans[span])
        if word.state != "CLASS":
            return False
        locked = yield from self._lock(me, span, BLOCKS[word.aux])
        retired = False
        if locked == BLOCKS[word.aux]:
            retired = yield Cas(self.spans[span], word, word.next("FREE", NOBODY), "arena_retire:swapped")
        for index in range(locked):
            yield from self._unlock(me, span, index)
        return retired

    def _lock(self, me: int, span: int, blocks: int) -> Steps[int]:
        for index in range(blocks):
            locked = yield from self._lock_at(me, span, index)
            if not locked:
                return index
        return blocks

    def _lock_at(self, me: int, span: int, index: int) -> Steps[bool]:
        word = yield Load(self.blocks[span][index])
        if word.state != "FREE":
            return False
        if self.broken == "retired_without_locks":
            return True
        locked = yield Cas(self.blocks[span][index], word, word.as_("RETIRED", me), "arena_retire:locked")
        return bool(locked)

    def _unlock(self, me: int, span: int, index: int) -> Steps[None]:
        word = yield Load(self.blocks[span][index])
        if word.state == "RETIRED" and word.label == me:
            yield Cas(self.blocks[span][index], word, word.next("FREE", NOBODY), "arena_retire:unlocked")

    # -------------------------------------------------------------------------------------------------------- runs

    # take_run_
    def _take_run(self, me: int, spans: int) -> Steps[int | None]:
        found = yield from self._search_run(me, spans)
        if found is None and (yield from self._retire_all(me)):
            found = yield from self._search_run(me, spans)
        return found

    def _search_run(self, me: int, spans: int) -> Steps[int | None]:
        free = 0
        for span in range(self.size.spans):
            is_free = yield from self._is_free(span)
            free = free + 1 if is_free else 0
            if free >= spans:
                head = span + 1 - spans
                if (yield from self._take_run_at(me, head, spans)):
                    return head
                free = 0
        return None

    def _is_free(self, span: int) -> Steps[bool]:
        word = yield Load(self.spans[span])
        return bool(word.state == "FREE")

    # take_run_at_
    def _take_run_at(self, me: int, head: int, spans: int) -> Steps[bool]:
        word = yield Load(self.spans[head])
        mine = word.as_("OWNED", me)
        if self.broken != "used_is_raised_afterwards":
            yield from self._note_used(head + spans - 1)
        if word.state != "FREE" or not (yield Cas(self.spans[head], word, mine, "arena_take_run:head")):
            return False
        yield Store(self.runs[head], 1)
        for span in range(head + 1, head + spans):
            if not (yield from self._take_tail(me, head, span, span == head + spans - 1)):
                yield from self._free_run(head, mine, me)
                return False
        if self.broken == "used_is_raised_afterwards":
            yield from self._note_used(head + spans - 1)
        return True

    def _take_tail(self, me: int, head: int, span: int, is_last: bool) -> Steps[bool]:
        seen = yield Load(self.spans[span])
        tail = seen.as_("TAIL", me)
        if seen.state != "FREE" or not (yield Cas(self.spans[span], seen, tail, "arena_take_run:tail")):
            return False
        if self.broken == "tail_settled_before_it_is_counted":
            yield self._settle_tail(me, head, span, tail, is_last)
        yield Store(self.runs[span], head)
        yield Store(self.runs[head], span - head + 1)
        if self.broken != "tail_settled_before_it_is_counted":
            yield self._settle_tail(me, head, span, tail, is_last)
        return True

    def _settle_tail(self, me: int, head: int, span: int, tail: Word, is_last: bool) -> Access:
        also = partial(self._mark, self._run_halves(head, span), me) if is_last else None
        return Store(self.spans[span], tail.as_("TAIL", NOBODY), "arena_take_run:settled", (tail,), also)

    # free_run_; `me` is the user whose bytes they are, or NOBODY
    def _free_run(self, head: int, head_word: Word, me: int) -> Steps[None]:
        spans = yield Load(self.runs[head], also=partial(self._give_up, me) if me else None)
        free = head_word.next("FREE", NOBODY)
        if self.broken == "head_freed_first":
            yield Cas(self.spans[head], head_word, free, "arena_free_run:head")
        for span in range(head + 1, min(head + spans, self.size.spans)):
            if not (yield from self._free_tail(head, head_word, span)):
                return
        if self.broken != "head_freed_first":
            yield Cas(self.spans[head], head_word, free, "arena_free_run:head")

    def _free_tail(self, head: int, head_word: Word, span: int) -> Steps[bool]:
        word = yield Load(self.spans[span])
        if word.state != "TAIL" or word.label != NOBODY:
            return True
        if (yield Load(self.runs[span])) != head and self.broken != "tail_of_any_head":
            return True  # freed before, and perhaps used again
        looks = self.broken not in ("no_look_at_the_head", "head_freed_first")
        if looks and (yield Load(self.spans[head])) != head_word:
            return False  # another recoverer was quicker; the run is no longer the one that was read
        yield Cas(self.spans[span], word, word.next("FREE", NOBODY), "arena_free_run:tail")
        return True

    # --------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self) -> Steps[None]:
        while True:
            dead = yield Await(self.roster.unreleased)
            yield from self._recover(dead)

    # one pass of lq_space_recover
    def _recover(self, dead: int) -> Steps[None]:
        yield self.roster.bury(dead)
        found = yield from self._recover_object(dead)
        end = yield Load(self.used)
        for span in range(end):
            found |= yield from self._recover_span(dead, span)
        if not found:
            yield self.roster.release(dead)

    # recover_slot_, of WRITING
    def _recover_object(self, dead: int) -> Steps[bool]:
        word = yield Load(self.object)
        if word.label != dead:
            return False
        yield from self._drop_for(word)
        yield Cas(self.object, word, word.next("FREE", NOBODY), "recover:freed")
        return True

    # lq_arena_drop_for, of a run
    def _drop_for(self, guard: Word) -> Steps[None]:
        head = yield Load(self.named)
        if head < 0:
            return
        seen = yield Load(self.spans[head])
        if seen.state != "HELD":
            return
        backref = yield Load(self.backrefs[head])
        if backref != 1 or (yield Load(self.object)) != guard:
            return
        owned = seen.next("OWNED", NOBODY if self.broken == "run_freed_without_a_label" else guard.label)
        if (yield Cas(self.spans[head], seen, owned, "arena_drop_for:owned")):
            yield from self._free_run(head, owned, NOBODY)

    # lq_arena_recover, at one span
    def _recover_span(self, dead: int, span: int) -> Steps[bool]:
        word = yield Load(self.spans[span])
        found = False
        cut = yield Load(self.cuts[span])
        if cut if self.broken != "blocks_of_cut_spans_only" else word.state == "CLASS":
            for index in range(BLOCKS[0]):
                found |= yield from self._recover_block(dead, span, index)
        if word.label != dead:
            return found
        if word.state == "TAIL":
            yield Cas(self.spans[span], word, word.next("FREE", NOBODY), "arena_recover:span")
        else:
            yield from self._free_run(span, word, NOBODY)
        return True

    # recover_blocks_
    def _recover_block(self, dead: int, span: int, index: int) -> Steps[bool]:
        word = yield Load(self.blocks[span][index])
        if word.label != dead:
            return False
        yield Cas(self.blocks[span][index], word, word.next("FREE", NOBODY), "arena_recover:freed")
        return True

    # ------------------------------------------------------------------------------------------------- the checks

    def _halves(self, span: int, index: int, kind: int) -> tuple[int, ...]:
        """The cells that say whose the bytes of a block are."""
        return (self.bytes[span][index],) if kind == 0 else tuple(self.bytes[span])

    def _run_halves(self, head: int, last: int) -> tuple[int, ...]:
        return tuple(at for span in range(head, last + 1) for at in self.bytes[span])

    def _give_up(self, me: int, cells: list[Any]) -> None:
        for at in (at for halves in self.bytes for at in halves):
            cells[at] = NOBODY if cells[at] == me else cells[at]

    def _mark(self, halves: tuple[int, ...], owner: int, cells: list[Any]) -> None:
        for at in halves:
            if owner not in (NOBODY, cells[at]) and self._is_alive(cells, at):
                raise Broken(f"{self.names[at]} belong to two users")
            cells[at] = owner

    def always(self, cells: Sequence[Any]) -> None:
        words = [*self.spans, *(at for blocks in self.blocks for at in blocks), self.object]
        self.roster.check_released(cells, words)
        for span, at in enumerate(self.spans):
            if cells[at].state == "FREE" and any(self._is_alive(cells, half) for half in self.bytes[span]):
                raise Broken(f"{self.names[at]} is free, and somebody uses it")

    def _is_alive(self, cells: Sequence[Any], half: int) -> bool:
        return cells[half] != NOBODY and self.roster.fate(cells, cells[half]) != KILLED

    def settled(self, cells: Sequence[Any]) -> bool:
        """Nothing is left of the dead, and, when nobody uses anything, all can be used again."""
        if self.roster.unreleased(cells) is not None:
            return False
        fates = [ALIVE, *(cells[at] for at in self.roster.fates)]
        for span, at in enumerate(self.spans):
            word = cells[at]
            if word.state not in ("FREE", "CLASS") or fates[word.label] == KILLED:
                return False
            if any(cells[block].state != "FREE" for block in self.blocks[span]):
                return False
        return True


_BLOCKS = Size(recoverers=1)
_RUNS = Size(spans=2, wants=2, others=2)
_LONG = Size(spans=3, wants=3, others=2, rounds=2, recoverers=1)

SUITE = Suite(
    "arena",
    Spans,
    small=(
        Size(kills=0, rounds=2, other_rounds=2),
        _BLOCKS._replace(rounds=2),
        _RUNS,
        _RUNS._replace(holds=True, recoverers=1),
        _RUNS._replace(others=0, recoverers=1),
        _LONG,
    ),
    large=(
        Size(losses=1),
        _RUNS._replace(holds=True, losses=1),
        _RUNS._replace(others=0),
        _LONG._replace(recoverers=2),
        Size(spans=3, wants=2, others=2, holds=True, other_rounds=2, recoverers=2),
    ),
    controls={
        "no_look_at_the_span": Control(
            "a block is taken without a look at its span", Size(kills=0, rounds=2, other_rounds=2)
        ),
        "retired_without_locks": Control("a span is given back without its blocks being locked", Size(kills=0)),
        "blocks_of_cut_spans_only": Control(
            "recovery passes over the blocks of spans that are not cut just now", _BLOCKS
        ),
        "used_is_raised_afterwards": Control("a span is taken before `used` is raised", _RUNS),
        "tail_settled_before_it_is_counted": Control("a tail is nobody's before its run counts it", _RUNS),
        "head_freed_first": Control("the head of a run is freed before its tails", _RUNS),
        "no_look_at_the_head": Control("a tail is freed without a look at the head", _RUNS),
        "tail_of_any_head": Control("a tail is freed whatever head it names", _LONG),
        "run_freed_without_a_label": Control(
            "a run that is freed for the dead is nobody's meanwhile", _RUNS._replace(holds=True, losses=1)
        ),
    },
)
