# SPDX-License-Identifier: MIT
"""The way of a task through its slot and the claim ring: one client that submits and uses its slots again, workers,
a stranger who cancels, and two recoverers beside each other.

To be laid beside lq_client.c (submit, cancel, consume), lq_worker.c (claim_, settle_cancelled_, finish, requeue,
pay_owed_), lq_recover.c (recover_slot_ and what it calls) and lq_space.c (sweep). Telling the client is one step here;
`completion` has its real ones. The fields of a body that nobody reads while they change are one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from machine import Await, Broken, Cas, Load, Maybe, Model, Raise, Steps, Store
from parts import ALIVE, FULL, KILLED, LIVE, NOBODY, STOPPED, Control, Entry, Ring, Roster, Suite, Word

CLIENT, WORKER = 1, 2  # labels; further workers follow
SPARE = -1  # what a slot serves while it is its client's own
SWEEP = 0  # for a recoverer: not a dead label, but results whose client is gone

NONE, SUCCESS, CANCELLED, CRASHED = "NONE", "SUCCESS", "CANCELLED", "CRASHED"
ON_ITS_WAY = ("QUEUED", "CLAIMED", "RUNNING", "CANCELLED")


class Size(NamedTuple):
    """How much of everything."""

    tasks: int = 1
    slots: int = 1
    cells: int = 2
    workers: int = 1  # the last one lives: with all of them gone nobody promises anything
    kills: int = 0  # of clients and workers
    stops: int = 0
    losses: int = 0  # of recoverers; the last one lives
    recoverers: int = 2
    cancels: int = 0
    requeues: int = 0  # by a live worker, after an exception
    max_crashes: int = 1
    most_unbegun: int = 1  # LQ_MOST_UNBEGUN
    unbegun: int = 0  # so many have died already of each task
    mortal_client: bool = True
    begun: str = ""  # CLAIMED or RUNNING: so is a task in each slot from the start, by the first worker


class Body(NamedTuple):
    """What lies in a slot beside its words."""

    task_generation: int = 0
    outcome: str = NONE


class Verdict(NamedTuple):
    """How a task ended where no worker lived to write it; with generation 0, how many died before they began it."""

    generation: int = 0
    outcome: str = NONE
    unbegun: int = 0


class Truth(NamedTuple):
    """For the checks: what has really happened to a slot's present task."""

    ran: int = 0  # the generation that was begun last
    runs: int = 0
    cancelled: bool = False
    outcome: str = NONE


class ClaimRing(Model):
    """The model. `broken` names the rule that it breaks, none if empty."""

    def __init__(self, size: Size, broken: str = "") -> None:
        super().__init__()
        self.size = size
        self.broken = broken
        workers = range(WORKER, WORKER + size.workers)
        names = ["client", *(f"worker {label}" for label in workers)]
        first = Word(size.begun, WORKER, 1) if size.begun else Word("WRITING", CLIENT, 1)
        self.words = [self.cell(f"word[{i}]", first) for i in range(size.slots)]
        self.bodies = [self.cell(f"body[{i}]", Body()) for i in range(size.slots)]
        self.verdicts = [self.cell(f"verdict[{i}]", Verdict(unbegun=size.unbegun)) for i in range(size.slots)]
        self.told = [self.cell(f"told[{i}]", 0) for i in range(size.slots)]
        truth = Truth(ran=1, runs=1) if size.begun == "RUNNING" else Truth()
        self.truths = [self.cell(f"(truth of {i})", truth) for i in range(size.slots)]
        self.ring = Ring(self, "ring", size.cells, broken)
        self.roster = Roster(self, names, size.kills, size.stops, size.losses)
        self.finished = self.cell("(tasks seen by the client)", 0)
        self.cancels = self.cell("cancels left", size.cancels)
        self.requeues = self.cell("requeues left", size.requeues)
        mortal = self.roster.faults
        self.process("client", self.client, mortal(CLIENT) if size.mortal_client else ())
        for label in workers:
            self.process(f"worker {label}", partial(self.worker, label), mortal(label) if label != workers[-1] else ())
        if size.cancels:
            self.process("stranger", self.stranger)
        if size.kills:
            self.add_twins("recoverer", size.recoverers, self.recoverer, self.roster.losses_of())

    # ------------------------------------------------------------------------------------------------ the client

    def client(self) -> Steps[None]:
        submitted = self.size.slots if self.size.begun else 0
        serves = tuple(range(submitted)) or (SPARE,) * self.size.slots
        while submitted < self.size.tasks or serves != (SPARE,) * self.size.slots:
            if submitted < self.size.tasks and SPARE in serves:
                serves = yield from self._submit_next(serves, submitted)
                submitted += 1
            else:
                serves = yield from self._finish_next(serves)

    def _submit_next(self, serves: tuple[int, ...], task: int) -> Steps[tuple[int, ...]]:
        index = serves.index(SPARE)
        yield from self._reserve(index)
        while (yield from self._submit(index)) == FULL:
            yield Await(lambda cells: self.ring.has_room(cells) or None, "submit again")
        return (*serves[:index], task, *serves[index + 1 :])

    # lq_client_reserve, its end
    def _reserve(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        yield Store(self.bodies[index], Body(word.generation))
        none = Verdict(unbegun=self.size.unbegun)
        yield Store(self.verdicts[index], none, "client_reserve:ready", also=self._forget(index))

    # lq_client_submit
    def _submit(self, index: int) -> Steps[str]:
        word = yield Load(self.words[index], own=True)
        queued = word.as_("QUEUED", CLIENT)
        yield Store(self.words[index], queued, "[C1] client_submit:queued", over=(word,))
        outcome = yield from self.ring.push(index, word.generation)
        if outcome != FULL or self.broken == "full_ring_forgotten":
            return ""
        mine = (queued, word.as_("CANCELLED", CLIENT))  # that a stranger has cancelled it is forgotten
        yield Store(self.words[index], word, "taken back", mine, self._forget(index))
        return outcome

    # lq_client_reap: here the client simply knows what it was told
    def _finish_next(self, serves: tuple[int, ...]) -> Steps[tuple[int, ...]]:
        index = yield Await(lambda cells: self._news(cells, serves), "client_reap")
        outcome = yield from self._outcome(index)
        yield from self._consume(index, outcome)
        yield from self._evict(index)
        return (*serves[:index], SPARE, *serves[index + 1 :])

    def _news(self, cells: Sequence[Any], serves: tuple[int, ...]) -> int | None:
        for index, task in enumerate(serves):
            word = cells[self.words[index]]
            if task != SPARE and word.state == "DONE" and cells[self.told[index]] == word.generation:
                return index
        return None

    # lq_slot_outcome
    def _outcome(self, index: int) -> Steps[str]:
        verdict = yield Load(self.verdicts[index])
        word = yield Load(self.words[index], own=True)  # its generation stands until it is consumed
        if verdict.generation == word.generation or (self.broken == "any_verdict_counts" and verdict != Verdict()):
            return str(verdict.outcome)
        body = yield Load(self.bodies[index], own=True)
        return str(body.outcome)

    # lq_client_consume
    def _consume(self, index: int, outcome: str) -> Steps[None]:
        while not (yield from self._consume_once(index, outcome)):
            pass  # a recoverer may have relabelled it in between: then again

    def _consume_once(self, index: int, outcome: str) -> Steps[bool]:
        word = yield Load(self.words[index])
        cached = word.as_("CACHED", NOBODY)
        swapped = yield Cas(self.words[index], word, cached, "client_consume:cached", self._was_so(index, outcome))
        return bool(swapped)

    # lq_space_evict, and the slot is a spare one again
    def _evict(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        same = self.broken == "reuse_in_the_same_generation"
        writing = word.as_("WRITING", CLIENT) if same else word.next("WRITING", CLIENT)
        yield Cas(self.words[index], word, writing, "evict:claimed")

    # lq_client_cancel, of another client
    def stranger(self) -> Steps[None]:
        while True:
            yield from self._cancel()

    def _cancel(self) -> Steps[None]:
        index, task = yield Await(self._cancellable)
        word = yield Load(self.words[index])
        if word.state != "QUEUED":
            return
        body = yield Load(self.bodies[index])
        if body.task_generation != task:
            return
        cancelled = word.as_("CANCELLED", CLIENT if self.broken == "cancel_takes_the_label" else word.label)
        yield Cas(self.words[index], word, cancelled, "client_cancel:cancelled", self._is_cancelled(index))

    def _cancellable(self, cells: Sequence[Any]) -> tuple[int, int] | None:
        if cells[self.cancels]:
            for index, at in enumerate(self.words):
                if cells[at].state == "QUEUED":
                    return index, cells[self.bodies[index]].task_generation
        return None

    # ---------------------------------------------------------------------------------------------- the workers

    def worker(self, me: int) -> Steps[None]:
        owes = False
        if self.size.begun and me == WORKER:
            yield from self._finish_all(me)
        while True:
            owes = yield from self._work(me, owes)

    def _finish_all(self, me: int) -> Steps[None]:
        for index in range(self.size.slots):
            if self.size.begun == "CLAIMED":
                yield from self._start(me, index)
            yield from self._finish(me, index)

    # lq_worker_take_now, then one task
    def _work(self, me: int, owes: bool) -> Steps[bool]:
        yield Await(lambda cells: owes or self.ring.is_filled(cells) or None, "worker_take")
        if owes:
            owes = yield from self._pay_owed(me)
        index = yield from self._claim(me)
        if index is not None:
            yield from self._start(me, index)
            if (yield Maybe(self.requeues, "it raised, and may run again")):
                owes |= yield from self._requeue(me, index)
            else:
                yield from self._finish(me, index)
        return owes

    # claim_, up to the next cell
    def _claim(self, me: int) -> Steps[int | None]:
        seen = yield from self.ring.peek()
        if seen is None:
            return None
        position, entry = seen
        is_mine: bool | None = None
        while is_mine is None:
            is_mine = yield from self._sign(me, position, entry)
        yield self.ring.advance(position)
        return entry.slot if is_mine else None

    def _sign(self, me: int, position: int, entry: Entry) -> Steps[bool | None]:
        """True: claimed. False: to be passed over. None: look again."""
        word = yield Load(self.words[entry.slot])
        if word.generation != entry.generation or word.state not in ("QUEUED", "CANCELLED"):
            return False
        look_again = False if self.broken == "no_second_look_after_a_lost_swap" else None
        if word.state == "CANCELLED":
            settled = yield from self._settle_cancelled(me, entry.slot, word)
            return False if settled else look_again
        if self.broken == "head_before_the_name":
            yield self.ring.advance(position)
        claimed = yield Cas(self.words[entry.slot], word, word.as_("CLAIMED", me), "[W1] claim:claimed")
        return True if claimed else look_again

    # settle_cancelled_
    def _settle_cancelled(self, me: int, index: int, word: Word) -> Steps[bool]:
        yield from self._judge(index, word, CANCELLED)
        if not (yield Cas(self.words[index], word, word.as_("DONE", me), "settle_cancelled:done")):
            return False
        yield from self._announce(index, word.generation)
        return True

    # lq_worker_start
    def _start(self, me: int, index: int) -> Steps[None]:
        word = yield Load(self.words[index], own=True)
        yield Store(self.words[index], word.as_("RUNNING", me), "worker_start:running", (word,), self._begins(index))

    # lq_worker_finish
    def _finish(self, me: int, index: int) -> Steps[None]:
        body = yield Load(self.bodies[index], own=True)
        yield Store(self.bodies[index], body._replace(outcome=SUCCESS))
        word = yield Load(self.words[index], own=True)
        label = NOBODY if self.broken == "done_bears_no_label" else me
        done = word.as_("DONE", label)
        yield Store(self.words[index], done, "[W2] worker_finish:done", (word,), self._ends(index, SUCCESS))
        if (yield from self._is_waited_for()):
            yield from self._announce(index, word.generation)
        else:
            yield Cas(self.words[index], done, word.as_("CACHED", NOBODY), "nobody waits")

    # lq_roster_is_live, of the slot's client
    def _is_waited_for(self) -> Steps[bool]:
        row = yield Load(self.roster.row(CLIENT), own=not self.size.mortal_client)
        return bool(row == LIVE)

    # lq_space_announce
    def _announce(self, index: int, generation: int) -> Steps[None]:
        if (yield from self._is_waited_for()):
            yield Raise(self.told[index], generation, "announce:pushed")

    # lq_worker_requeue
    def _requeue(self, me: int, index: int) -> Steps[bool]:
        word = yield Load(self.words[index], own=True)
        again = word.next("QUEUED", NOBODY if self.broken == "requeue_bears_no_label" else me, word.aux)
        yield Store(self.words[index], again, "worker_requeue:queued", (word,))
        pushed = yield from self._push_requeued(index, again)
        return not pushed and self.broken != "full_ring_forgotten"

    # push_requeued_
    def _push_requeued(self, index: int, word: Word) -> Steps[bool]:
        if (yield from self.ring.push(index, word.generation)) == FULL:
            return False
        yield Cas(self.words[index], word, word.as_(word.state, NOBODY), "worker_requeue:pushed")
        return True

    # pay_owed_
    def _pay_owed(self, me: int) -> Steps[bool]:
        owes = False
        for index in range(self.size.slots):
            word = yield Load(self.words[index])
            if word.label == me and word.state in ("QUEUED", "CANCELLED"):
                owes |= not (yield from self._push_requeued(index, word))
        return owes

    # ------------------------------------------------------------------------------------------- the recoverers

    def recoverer(self) -> Steps[None]:
        while True:
            dead = yield Await(self._owed)
            if dead == SWEEP:
                yield from self._sweep()
            else:
                yield from self._recover(dead)

    def _owed(self, cells: Sequence[Any]) -> int | None:
        dead = self.roster.unreleased(cells)
        if dead is None and cells[self.roster.row(CLIENT)] != LIVE:
            return SWEEP if any(cells[at].state == "DONE" for at in self.words) else None
        return dead

    # lq_space_bury, one pass of lq_space_recover, and lq_space_release if it found nothing
    def _recover(self, dead: int) -> Steps[None]:
        yield self.roster.bury(dead)
        found = False
        for index in range(self.size.slots):
            found |= yield from self._recover_slot(index, dead)
        if not found or self.broken == "release_after_any_pass":
            yield self.roster.release(dead)

    # recover_slot_
    def _recover_slot(self, index: int, dead: int) -> Steps[bool]:
        word = yield Load(self.words[index])
        if word.label != dead:
            if dead == CLIENT and word.state == "DONE":
                yield from self._settle_done(index, word)  # a result that nobody waits for any more
            return False
        if word.state == "WRITING":
            yield Cas(self.words[index], word, word.next("FREE", NOBODY), "recover:freed")
        elif word.state in ("QUEUED", "CANCELLED"):
            if self.broken != "queued_left_alone":
                yield from self._settle_queued(index, word)
            else:
                yield Cas(self.words[index], word, word.as_(word.state, NOBODY))
        elif word.state == "CLAIMED":
            yield from self._recover_claimed(index, word)
        elif word.state == "RUNNING":
            yield from self._recover_running(index, word)
        else:
            yield from self._settle_done(index, word)
        return True

    # settle_queued_
    def _settle_queued(self, index: int, word: Word) -> Steps[None]:
        settled = word.as_(word.state, NOBODY)
        if self.broken == "relabel_before_the_push":
            yield Cas(self.words[index], word, settled, "recover:relabelled")
        if (yield from self.ring.push(index, word.generation)) == FULL:
            return
        if self.broken == "blind_relabel":
            yield Store(self.words[index], settled, "recover:relabelled")
        else:
            yield Cas(self.words[index], word, settled, "recover:relabelled")

    # recover_claimed_
    def _recover_claimed(self, index: int, word: Word) -> Steps[None]:
        verdict = yield Load(self.verdicts[index])
        if self.broken != "count_without_a_look_at_the_word" and (yield Load(self.words[index])) != word:
            return  # settled by others
        is_judged = verdict.generation == word.generation and self.broken != "count_over_a_verdict"
        unbegun = verdict.unbegun if verdict.generation == 0 else 0
        if is_judged or unbegun >= self.size.most_unbegun:
            yield from self._judge_crashed(index, word)
            return
        yield Cas(self.verdicts[index], verdict, Verdict(unbegun=unbegun + 1), "recover:counted")
        yield from self._requeue_for(index, word, word.aux)

    # recover_running_
    def _recover_running(self, index: int, word: Word) -> Steps[None]:
        if word.aux < self.size.max_crashes:
            yield from self._requeue_for(index, word, word.aux + 1)
        else:
            yield from self._judge_crashed(index, word)

    # requeue_for_
    def _requeue_for(self, index: int, word: Word, crashes: int) -> Steps[None]:
        same = self.broken == "requeue_in_the_same_generation"
        again = Word("QUEUED", word.label, word.generation + (not same), crashes)
        if (yield Cas(self.words[index], word, again, "recover:requeued")):
            yield from self._settle_queued(index, again)

    # judge_crashed_
    def _judge_crashed(self, index: int, word: Word) -> Steps[None]:
        if self.broken != "done_before_the_verdict":
            yield from self._judge(index, word, CRASHED)
        done = word.as_("DONE", word.label)
        if (yield Cas(self.words[index], word, done, "recover:done", self._ends(index, CRASHED))):
            yield from self._settle_done(index, done)
        if self.broken == "done_before_the_verdict":
            yield from self._judge(index, word, CRASHED)

    # the part of judge_crashed_ and settle_cancelled_ that writes the verdict
    def _judge(self, index: int, word: Word, outcome: str) -> Steps[None]:
        while not (yield from self._judge_once(index, word, outcome)):
            pass  # somebody else's swap, meant for an earlier task perhaps: then again

    def _judge_once(self, index: int, word: Word, outcome: str) -> Steps[bool]:
        verdict = yield Load(self.verdicts[index])
        if verdict.generation == word.generation:
            return True
        if self.broken != "verdict_without_a_look_at_the_word" and (yield Load(self.words[index])) != word:
            return True  # settled by others: the verdict in hand may be of a later task
        judged = yield Cas(self.verdicts[index], verdict, Verdict(word.generation, outcome), "judged")
        return bool(judged) or self.broken == "verdict_tried_once"

    # settle_done_
    def _settle_done(self, index: int, word: Word) -> Steps[None]:
        waited_for = yield from self._is_waited_for()
        if waited_for:
            yield from self._announce(index, word.generation)
        state = "DONE" if waited_for else "CACHED"
        yield Cas(self.words[index], word, word.as_(state, NOBODY), "recover:settled")

    # lq_space_sweep, without eviction
    def _sweep(self) -> Steps[None]:
        for index in range(self.size.slots):
            yield from self._sweep_slot(index)

    def _sweep_slot(self, index: int) -> Steps[None]:
        word = yield Load(self.words[index])
        if word.state == "DONE" and not (yield from self._is_waited_for()):
            yield Cas(self.words[index], word, word.as_("CACHED", NOBODY), "sweep")

    # ------------------------------------------------------------------------------------------------- the checks

    def _note(self, index: int, change: Callable[[Truth, Word], Truth]) -> Callable[[list[Any]], None]:
        def also(cells: list[Any]) -> None:
            cells[self.truths[index]] = change(cells[self.truths[index]], cells[self.words[index]])

        return also

    def _forget(self, index: int) -> Callable[[list[Any]], None]:
        return self._note(index, lambda truth, word: Truth(ran=truth.ran))

    def _is_cancelled(self, index: int) -> Callable[[list[Any]], None]:
        note = self._note(index, lambda truth, word: truth._replace(cancelled=True, outcome=CANCELLED))

        def also(cells: list[Any]) -> None:
            cells[self.cancels] -= 1
            note(cells)

        return also

    def _ends(self, index: int, outcome: str) -> Callable[[list[Any]], None]:
        return self._note(index, lambda truth, word: truth._replace(outcome=outcome))

    def _begins(self, index: int) -> Callable[[list[Any]], None]:
        most = 1 + self.size.kills + self.size.requeues

        def change(truth: Truth, word: Word) -> Truth:
            if truth.ran >= word.generation:
                raise Broken("a task runs twice in one generation")
            if truth.cancelled:
                raise Broken("a cancelled task runs")
            if truth.runs == most:
                raise Broken(f"a task runs {most + 1} times")
            return truth._replace(ran=word.generation, runs=truth.runs + 1)

        return self._note(index, change)

    def _was_so(self, index: int, outcome: str) -> Callable[[list[Any]], None]:
        def also(cells: list[Any]) -> None:
            really = cells[self.truths[index]].outcome
            if outcome != really:
                raise Broken(f"the client is told {outcome}, and it was {really}")
            cells[self.finished] += 1

        return also

    def always(self, cells: Sequence[Any]) -> None:
        self.roster.check_released(cells, self.words)
        for index, at in enumerate(self.words):
            word = cells[at]
            if word.label != NOBODY:
                continue
            if word.state in ("WRITING", "CLAIMED", "RUNNING"):
                raise Broken(f"nobody can finish {word}")
            if word.state in ("QUEUED", "CANCELLED") and not self.ring.holds(cells, index, word.generation):
                raise Broken(f"{word} is in no ring, and nobody owes it")

    def settled(self, cells: Sequence[Any]) -> bool:
        if self.roster.unreleased(cells) is not None:
            return False
        fates = [ALIVE, *(cells[at] for at in self.roster.fates)]
        owed = ON_ITS_WAY if fates[CLIENT] == STOPPED else (*ON_ITS_WAY, "DONE")
        excused = False  # a slot may wait for a stopped process
        for at in self.words:
            word = cells[at]
            if fates[word.label] == STOPPED:
                excused = True
            elif word.state in owed or fates[word.label] == KILLED:
                return False
        return fates[CLIENT] != ALIVE or excused or cells[self.finished] == self.size.tasks


_ALONE = Size(kills=1)  # one worker; whoever dies is the client
_TWO = Size(workers=2, kills=1, mortal_client=False)  # whoever dies is a worker
_RETRY = Size(workers=2, requeues=1)
_STALE = Size(workers=2, kills=1, cancels=1, mortal_client=False, max_crashes=0, tasks=2, begun="RUNNING")

SUITE = Suite(
    "ring",
    ClaimRing,
    small=(
        _ALONE._replace(losses=1),
        _ALONE._replace(stops=1, tasks=2),
        _ALONE._replace(cancels=1),
        _ALONE._replace(tasks=2, slots=2, cells=1, recoverers=1),
        _RETRY._replace(kills=1, recoverers=1, mortal_client=False),
        _RETRY._replace(stops=1, mortal_client=False),
        _TWO,
        _TWO._replace(unbegun=1, begun="CLAIMED", cancels=1),
    ),
    large=(
        Size(workers=2, kills=1, losses=1),
        Size(workers=2, kills=1, stops=1),
        Size(workers=2, kills=2, recoverers=1, requeues=1),
        _ALONE._replace(tasks=2, cancels=1, losses=1),
        _RETRY._replace(kills=1, recoverers=1, mortal_client=False, tasks=2, slots=2, cells=1),
        _TWO._replace(cancels=1),
        _TWO._replace(tasks=2, losses=1),
        _STALE,
    ),
    controls={
        "head_before_the_name": Control("the head is moved before the word is signed", _ALONE),
        "no_second_look_after_a_lost_swap": Control("a claim that loses its swap passes the cell over", _RETRY),
        "requeue_in_the_same_generation": Control("recovery requeues in the same generation", _TWO),
        "reuse_in_the_same_generation": Control(
            "a slot is used again in the same generation", _ALONE._replace(tasks=2, cancels=1)
        ),
        "relabel_before_the_push": Control("recovery relabels first and pushes then", _ALONE),
        "blind_relabel": Control("recovery relabels with a plain store", _ALONE),
        "queued_left_alone": Control("recovery takes a QUEUED slot for pushed", _ALONE),
        "requeue_bears_no_label": Control("a worker requeues as nobody's, and pushes then", _RETRY),
        "done_bears_no_label": Control("a result is nobody's before it is announced", _TWO),
        "no_full_check": Control("a push does not look at the head", _ALONE),
        "unsigned_full_check": Control("the full check is unsigned", _ALONE),
        "no_help": Control("a producer waits for a tail that another one owes", _ALONE),
        "full_ring_forgotten": Control(
            "a push into a full ring is not made good", _ALONE._replace(tasks=2, slots=2, cells=1)
        ),
        "cancel_takes_the_label": Control(
            "who cancels signs the word", _RETRY._replace(kills=1, recoverers=1, cancels=1, mortal_client=False)
        ),
        "release_after_any_pass": Control("a label is released after a pass that found it", _ALONE),
        "done_before_the_verdict": Control(
            "recovery ends a task first and writes the verdict then", _TWO._replace(begun="CLAIMED")
        ),
        "any_verdict_counts": Control("a verdict of any generation is believed", _TWO._replace(begun="CLAIMED")),
        "verdict_without_a_look_at_the_word": Control("a verdict is written over one of a later task", _STALE),
        "verdict_tried_once": Control("a verdict whose swap fails is given up", _STALE),
        "count_without_a_look_at_the_word": Control(
            "a death is counted over a verdict of a later run", _TWO._replace(cancels=1, begun="CLAIMED")
        ),
        "count_over_a_verdict": Control(
            "a death is counted over the verdict of another recoverer", _TWO._replace(unbegun=1, begun="CLAIMED")
        ),
    },
)
