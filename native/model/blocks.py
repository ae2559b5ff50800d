# SPDX-License-Identifier: MIT
"""Payload in blocks: who holds a block, who frees it, and what a reader may believe. Two clients that store,
publish, evict and use a slot again, a reader, a worker's crash in the middle of its result, and two recoverers
beside each other.

To be laid beside lq_arena.c (take_in_span_, hold, drop, return, drop_for, recover_blocks_), lq_client_store_args,
lq_space_evict, lq_space_read and drop_blocks_for_. There is one size class, nothing is kept warm, and a task is
published as soon as its block is held: the way through the ring is `ring`. Nobody pins: who looks at a block for longer
than a copy takes is in `pins`, and so is why drop and drop_for try again. `arena` has spans, runs and the giving back
of spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Await, Broken, Cas, Load, Model, Steps, Store
from parts import ALIVE, KILLED, NOBODY, Control, Roster, Suite, Word

MORTAL, IMMORTAL = 1, 2  # labels of the clients
NONE = -1  # no block


class Size(NamedTuple):
    """How much of everything. The mortal client always acts; the immortal one if it has rounds."""

    slots: int = 1
    blocks: int = 1
    rounds: int = 1  # of store, publish, evict by the mortal client
    others: int = 1  # by the immortal one
    consumes: bool = False  # arguments, which are dropped when the result is consumed, and again when it is evicted
    reads: int = 0
    kills: int = 1
    stops: int = 0
    losses: int = 0
    recoverers: int = 2


class Payload(Model):
    """The model. `broken` names the rule that it breaks, none if empty.

    A block's content is the task that it was written for, as (client, round): no number that the protocol makes.
    """

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        slots, blocks = range(size.slots), range(size.blocks)
        self.words = [self.cell(f"word[{i}]", Word("FREE", NOBODY, 1)) for i in slots]
        self.tasks = [self.cell(f"task_generation[{i}]", 0) for i in slots]
        self.named = [self.cell(f"args_block[{i}]", NONE) for i in slots]
        self.blocks = [self.cell(f"block[{i}]", Word("FREE", NOBODY, 1)) for i in blocks]
        self.backrefs = [self.cell(f"backref[{i}]", (NONE, 0)) for i in blocks]
        self.contents = [self.cell(f"content[{i}]", None) for i in blocks]
        self.truths = [self.cell(f"(task of {i})", None) for i in slots]
        self.reads = self.cell("reads left", size.reads)
        self.roster = Roster(self, ["client 1", "client 2"], size.kills, size.stops, size.losses)
        self.process("client 1", partial(self.client, MORTAL, size.rounds), self.roster.faults(MORTAL))
        if size.others:
            self.process("client 2", partial(self.client, IMMORTAL, size.others))
        if size.reads:
            self.process("reader", self.reader)
        self.add_twins("recoverer", size.recoverers, self.recoverer, self.roster.losses_of())

    # ------------------------------------------------------------------------------------------------ the clients

    def client(self, me: int, rounds: int) -> Steps[None]:
        for number in range(rounds):
            yield from self._round(me, number)

    def _round(self, me: int, number: int) -> Steps[None]:
        index = yield from self._take_slot(me)
        yield from self._reserve(index)
        yield from self._store_args(me, index, number)
        word = yield Load(self.words[index], own=True)
        state = "QUEUED" if self.size.consumes else "CACHED"
        published = word.as_(state, NOBODY)
        yield Store(self.words[index], published, "published", (word,), partial(self._is_task, index, (me, number)))
        if self.size.consumes:
            yield from self._consume(me, index)
        yield from self._evict(me, index)

    def _is_task(self, index: int, task: tuple[int, int], cells: list[Any]) -> None:
        cells[self.truths[index]] = task

    # lq_client_consume, after a run in one step
    def _consume(self, me: int, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        done = word.as_("DONE", NOBODY)
        yield Store(self.words[index], done, "ran", (word,))
        yield from self._drop(me, index)
        yield Cas(self.words[index], done, word.as_("CACHED", NOBODY), "client_consume:cached")

    # lq_slots_take_free
    def _take_slot(self, me: int) -> Steps[int]:
        index: int | None = None
        while index is None:
            index = yield from self._take_slot_once(me)
        return index

    def _take_slot_once(self, me: int) -> Steps[int | None]:
        index: int = yield Await(partial(_first, self.words, "FREE"))
        word = yield Load(self.words[index])
        if word.state != "FREE":
            return None
        taken = yield Cas(self.words[index], word, word.as_("WRITING", me), "slots_take_free:claimed")
        return index if taken else None

    # lq_client_reserve, its end
    def _reserve(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        yield Store(self.named[index], NONE)
        yield Store(self.tasks[index], word.generation, "client_reserve:ready")

    # lq_client_store_args
    def _store_args(self, me: int, index: int, number: int) -> Steps[None]:
        block = yield from self._take_block(me)
        task = yield Load(self.tasks[index], own=True)
        yield Store(self.contents[block], (me, number))
        if self.broken != "block_held_before_it_is_named":
            yield Store(self.named[index], block, "client_store_args:named")
        yield from self._hold(block, index, task)
        if self.broken == "block_held_before_it_is_named":
            yield Store(self.named[index], block, "client_store_args:named")

    # take_in_span_
    def _take_block(self, me: int) -> Steps[int]:
        block: int | None = None
        while block is None:
            block = yield from self._take_block_once(me)
        return block

    def _take_block_once(self, me: int) -> Steps[int | None]:
        block: int = yield Await(partial(_first, self.blocks, "FREE"))
        seen = yield Load(self.blocks[block])
        if seen.state != "FREE":
            return None
        taken = yield Cas(self.blocks[block], seen, seen.as_("OWNED", me), "arena_take:claimed")
        return block if taken else None

    # lq_arena_hold
    def _hold(self, block: int, index: int, task: int) -> Steps[None]:
        seen = yield Load(self.blocks[block], own=True)
        if self.broken != "held_before_the_backref":
            yield Store(self.backrefs[block], (index, task), "arena_hold:named")
        yield Store(self.blocks[block], seen.as_("HELD", NOBODY), "arena_hold:held", (seen,))
        if self.broken == "held_before_the_backref":
            yield Store(self.backrefs[block], (index, task), "arena_hold:named")

    # lq_space_evict, then free_evicted_
    def _evict(self, me: int, index: int) -> Steps[None]:
        word = yield Load(self.words[index])
        if word.state != "CACHED":
            return
        if self.broken == "dropped_before_the_swap":
            yield from self._drop(me, index)
        same = self.broken == "evicted_in_the_same_generation"
        writing = word.as_("WRITING", me) if same else word.next("WRITING", me)
        if not (yield Cas(self.words[index], word, writing, "evict:claimed")):
            return
        if self.broken == "freed_before_its_block":
            yield Store(self.words[index], writing.as_("FREE", NOBODY), "evict:freed", (writing,))
        yield from self._drop(me, index)
        if self.broken != "freed_before_its_block":
            yield Store(self.words[index], writing.as_("FREE", NOBODY), "evict:freed", (writing,))

    # lq_arena_drop of the block that the body names, then lq_arena_return
    def _drop(self, me: int, index: int) -> Steps[None]:
        block = yield Load(self.named[index])
        task = yield Load(self.tasks[index])
        seen = yield Load(self.blocks[block])
        if seen.state != "HELD":
            return
        backref = yield Load(self.backrefs[block])
        if backref != (index, task) and self.broken != "dropped_whoever_holds_it":
            return
        owned = seen.next("OWNED", me)
        if (yield Cas(self.blocks[block], seen, owned, "arena_drop:owned")):
            yield Cas(self.blocks[block], owned, owned.next("FREE", NOBODY), "arena_free:freed")

    # ------------------------------------------------------------------------------------------------- the reader

    def reader(self) -> Steps[None]:
        for _ in range(self.size.reads):
            yield from self._read()

    # lq_space_read, a copy of the block, then lq_space_is_current
    def _read(self) -> Steps[None]:
        index = yield Await(partial(_first, self.words, "CACHED"))
        word = yield Load(self.words[index])
        if word.state != "CACHED":
            return
        meant = yield Load(self.truths[index], own=True)
        block = yield Load(self.named[index])
        if (yield Load(self.words[index])) != word:
            return
        content = yield Load(self.contents[block])
        if self.broken != "read_without_a_second_look":
            after = yield Load(self.words[index])
            if after.generation != word.generation or after.state != "CACHED":
                return
        if content != meant:
            raise Broken(f"a reader takes the bytes of task {content} for those of {meant}")

    # --------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self) -> Steps[None]:
        while True:
            dead = yield Await(self.roster.unreleased)
            yield from self._recover(dead)

    # one pass of lq_space_recover
    def _recover(self, dead: int) -> Steps[None]:
        yield self.roster.bury(dead)
        found = False
        for index in range(self.size.slots):
            found |= yield from self._recover_slot(index, dead)
        for block in range(self.size.blocks):
            found |= yield from self._recover_block(block, dead)
        if not found:
            yield self.roster.release(dead)

    # recover_slot_, of WRITING
    def _recover_slot(self, index: int, dead: int) -> Steps[bool]:
        word = yield Load(self.words[index])
        if word.label != dead:
            return False
        free = word.next("FREE", NOBODY)
        if self.broken == "slot_freed_before_its_block":
            yield Cas(self.words[index], word, free, "recover:freed")
        yield from self._drop_for(index, word)
        if self.broken == "blind_free":
            yield Store(self.words[index], free, "recover:freed")
        else:
            yield Cas(self.words[index], word, free, "recover:freed")
        return True

    # drop_blocks_for_ and lq_arena_drop_for
    def _drop_for(self, index: int, word: Word) -> Steps[None]:
        task = yield Load(self.tasks[index])
        block = yield Load(self.named[index])
        if block == NONE:
            return
        seen = yield Load(self.blocks[block])
        if seen.state != "HELD":
            return
        backref = yield Load(self.backrefs[block])
        if backref != (index, task) and self.broken != "dropped_for_the_dead_whoever_holds_it":
            return
        if self.broken == "guard_before_the_block":
            seen = yield Load(self.blocks[block])
        elif self.broken not in ("no_guard", "slot_freed_before_its_block") and (yield Load(self.words[index])) != word:
            return  # somebody has recovered it already; the block may have been used again since
        yield Cas(self.blocks[block], seen, seen.next("FREE", NOBODY), "arena_drop_for:freed")

    # recover_blocks_
    def _recover_block(self, block: int, dead: int) -> Steps[bool]:
        seen = yield Load(self.blocks[block])
        if seen.label != dead:
            return False
        yield Cas(self.blocks[block], seen, seen.next("FREE", NOBODY), "arena_recover:freed")
        return True

    # ------------------------------------------------------------------------------------------------- the checks

    def always(self, cells: Sequence[Any]) -> None:
        self.roster.check_released(cells, [*self.words, *self.blocks])
        for index, at in enumerate(self.words):
            if cells[at].state == ("QUEUED" if self.size.consumes else "CACHED"):
                block = cells[self.named[index]]
                task = cells[self.tasks[index]]
                held = cells[self.blocks[block]]
                if held.state != "HELD" or cells[self.backrefs[block]] != (index, task):
                    raise Broken(f"slot {index} names block {block}, which is not held for it: {held}")

    def settled(self, cells: Sequence[Any]) -> bool:
        """No label of a dead process anywhere, and no block held by a slot that does not name it."""
        if self.roster.unreleased(cells) is not None:
            return False
        fates = [ALIVE, *(cells[at] for at in self.roster.fates)]
        if any(fates[cells[at].label] == KILLED for at in (*self.words, *self.blocks)):
            return False
        return all(self._is_held(cells, block) for block in range(self.size.blocks))

    # is_held_
    def _is_held(self, cells: Sequence[Any], block: int) -> bool:
        if cells[self.blocks[block]].state != "HELD":
            return True
        index, task = cells[self.backrefs[block]]
        if cells[self.words[index]].state == "FREE":
            return False
        return bool(cells[self.tasks[index]] == task and cells[self.named[index]] == block)


def _first(words: Sequence[int], state: str, cells: Sequence[Any]) -> int | None:
    """The first object in that state."""
    return next((index for index, at in enumerate(words) if cells[at].state == state), None)


_ONE = Size()
_TWO = Size(slots=2, blocks=2)

SUITE = Suite(
    "blocks",
    Payload,
    small=(
        _ONE._replace(rounds=2, stops=1),
        _ONE._replace(losses=1),
        _ONE._replace(reads=1, recoverers=1),
        _ONE._replace(consumes=True, slots=2, recoverers=1),
        _TWO._replace(recoverers=1),
    ),
    large=(
        _ONE._replace(rounds=2, others=2, reads=2, recoverers=1),
        _ONE._replace(reads=1, stops=1, losses=1),
        _ONE._replace(consumes=True, slots=2),
        _TWO._replace(losses=1),
        _TWO._replace(rounds=2, reads=1, recoverers=1),
    ),
    controls={
        "block_held_before_it_is_named": Control("a block is held before the body names it", _ONE),
        "held_before_the_backref": Control("a block is held before its backref is written", _ONE),
        "dropped_before_the_swap": Control("blocks are dropped before the slot is taken from its readers", _ONE),
        "dropped_whoever_holds_it": Control(
            "a block is dropped without a look at its backref", _ONE._replace(consumes=True, slots=2)
        ),
        "evicted_in_the_same_generation": Control("evict keeps the generation", _ONE._replace(reads=1, recoverers=1)),
        "freed_before_its_block": Control("evict frees the slot before the block that it names", _ONE),
        "read_without_a_second_look": Control(
            "a reader does not look whether its slot is current", _ONE._replace(reads=1)
        ),
        "slot_freed_before_its_block": Control("recovery frees a slot before the block that it names", _ONE),
        "blind_free": Control("recovery frees a slot with a plain store", _ONE),
        "no_guard": Control("drop_for does not look at the guard", _ONE),
        "guard_before_the_block": Control("drop_for looks at the guard before it reads the block's word", _ONE),
        "dropped_for_the_dead_whoever_holds_it": Control("drop_for does not look at the backref", _TWO),
    },
)
