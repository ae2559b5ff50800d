# SPDX-License-Identifier: MIT
"""What a running task says of itself, and who follows it."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localq import (
    ConfigError,
    LocalQueue,
    QueueClosed,
    TaskFuture,
    TaskStatus,
    TaskUpdate,
    WorkerCrashed,
    current_task,
)
from localq.client.updates import Followers
from tests.support import progressing, tasks
from tests.support.queues import PATIENCE, audit, id_of, ready_workers, wait_until_staffed
from tests.support.scripts import start_script
from tests.support.waiting import Gate, eventually

State = tuple[TaskStatus, float | None, str | None]


def state(update: TaskUpdate) -> State:
    return update.status, update.progress, update.message


def states(updates: Any) -> list[State]:
    return [state(update) for update in updates]


class Read:
    """Reads an iterator in a thread, to see what has come while the task still runs."""

    def __init__(self, updates: Any) -> None:
        self.states: list[State] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(updates,))
        self._thread.start()

    def _read(self, updates: Any) -> None:
        try:
            for update in updates:
                self.states.append(state(update))
        except BaseException as error:
            self.error = error

    def wait_for(self, expected: State) -> None:
        eventually(lambda: expected in self.states, what=f"{expected} was seen")

    def join(self) -> list[State]:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it has not ended"
        return self.states


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    """Gates, each with a name of its own, which open at the end."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate(tmp_path, f"gate{len(made)}"))
        return made[-1]

    yield make
    for gate in made:
        gate.__exit__(None, None, None)


# saying


def test_what_a_task_says_is_read_from_its_future(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(progressing.say_and_wait, gate.path, 0.25, "a quarter")
    gate.wait_for_arrivals(1)

    assert (future.progress, future.message) == (0.25, "a quarter")
    found = q.get_task_result(id_of(future))
    assert found is not None
    assert (found.status, found.progress, found.message) == (TaskStatus.STARTED, 0.25, "a quarter")

    gate.open()
    assert future.result(PATIENCE) is None
    assert (future.progress, future.message) == (0.25, "a quarter")


def test_a_task_that_says_nothing_has_neither(q: LocalQueue) -> None:
    future = q.delay(tasks.noop)
    future.result(PATIENCE)

    assert (future.progress, future.message) == (None, None)
    assert states(future.updates()) == [(TaskStatus.SUCCESS, None, None)]


def test_what_is_left_out_stays(q: LocalQueue) -> None:
    future = q.delay(progressing.say_all, [{"progress": 0.5, "message": "half"}, {"progress": 0.75}, {}])
    future.result(PATIENCE)
    other = q.delay(progressing.say_all, [{"message": "first"}, {"progress": 0.1}, {"message": "last"}])
    other.result(PATIENCE)

    assert (future.progress, future.message) == (0.75, "half")
    assert (other.progress, other.message) == (0.1, "last")


@pytest.mark.parametrize("message", ["", "ä" * 300, "a" + "\N{PILE OF POO}" * 60, "x" * 200, "\ud800"])
def test_a_message_is_cut_at_200_bytes_and_at_a_characters_boundary(q: LocalQueue, message: str) -> None:
    future = q.delay(progressing.say_all, [{"message": message}])
    future.result(PATIENCE)

    kept = future.message
    assert kept is not None
    assert len(kept.encode("utf-8", "surrogatepass")) <= 200
    if "\ud800" not in message:
        assert message.startswith(kept)
        assert len((kept + message[len(kept) : len(kept) + 1]).encode()) > 200 or kept == message


@pytest.mark.parametrize("progress", [0, 1, True, "0.5", -0.1, 1.5, float("nan"), float("inf"), [0.5], 1j, 10**400])
def test_only_numbers_from_0_to_1_are_progress(q: LocalQueue, progress: Any) -> None:
    future = q.delay(progressing.say_all, [{"progress": progress}])

    if progress in (0, 1) and not isinstance(progress, bool):
        assert future.result(PATIENCE) is None
        assert future.progress == progress
    else:
        with pytest.raises(ConfigError, match="progress must be a number from 0 to 1; got"):
            future.result(PATIENCE)


def test_numbers_of_numpy_are_progress(q: LocalQueue) -> None:
    numpy = pytest.importorskip("numpy")

    future = q.delay(progressing.say_all, [{"progress": numpy.float32(0.5)}, {"progress": numpy.int64(1)}])

    assert future.result(PATIENCE) is None
    assert future.progress == 1.0


def test_a_message_is_a_text(q: LocalQueue) -> None:
    with pytest.raises(ConfigError, match="message must be a text; got int"):
        q.delay(progressing.say_all, [{"message": 7}]).result(PATIENCE)


def test_outside_of_a_task_there_is_nobody_to_say_anything() -> None:
    assert current_task() is None


def test_a_task_within_a_task_speaks_for_itself(lone: LocalQueue) -> None:
    inner, outer = lone.delay(progressing.say_within, 0.75).result(PATIENCE)

    assert inner == (0.75, "inner")
    assert outer == (0.25, "outer")


def test_coroutines_speak_each_for_itself() -> None:
    with LocalQueue(workers=1, concurrency=4) as queue:
        futures = [queue.delay(progressing.say_later, number / 4) for number in range(4)]

        assert [future.result(PATIENCE) for future in futures] == [None] * 4
        assert [(future.progress, future.message) for future in futures] == [
            (number / 4, f"at {number / 4}") for number in range(4)
        ]


def test_threads_of_a_task_speak_for_it(q: LocalQueue) -> None:
    future = q.delay(progressing.say_in_a_thread)
    future.result(PATIENCE)

    assert (future.progress, future.message) == (0.5, "from a thread")


def test_items_of_a_map_speak_for_their_chunk(lone: LocalQueue) -> None:
    assert list(lone.map(progressing.say, [0.1, 0.2, 0.3], chunksize=3)) == [0.1, 0.2, 0.3]


def test_what_is_said_after_the_end_is_said_to_nobody(lone: LocalQueue) -> None:
    future = lone.delay(progressing.keep_context)
    future.result(PATIENCE)
    other = lone.delay(progressing.say_by_kept_context)
    other.result(PATIENCE)

    assert (future.progress, future.message) == (0.5, "in time")
    assert (other.progress, other.message) == (None, None)


def test_a_child_that_a_task_has_forked_says_nothing(lone: LocalQueue) -> None:
    future = lone.delay(progressing.say_in_a_child)

    assert future.result(PATIENCE) == 0
    assert (future.progress, future.message) == (0.5, "the parent")


def test_a_context_can_be_sent_elsewhere_and_says_nothing_there(q: LocalQueue) -> None:
    context = q.delay(progressing.context).result(PATIENCE)

    context.update(progress=0.5)
    assert pickle.loads(pickle.dumps(context)).attempt == 1


# following


def test_each_state_is_seen_and_the_end_is_the_last(q: LocalQueue, steps: Callable[[], Gate]) -> None:
    gates = [steps() for _ in range(3)]
    future = q.delay(progressing.say_at_each, [gate.path for gate in gates])
    reader = Read(future.updates())

    for number, gate in enumerate(gates):
        reader.wait_for((TaskStatus.STARTED, number / 3, f"step {number}"))
        gate.open()

    assert reader.join()[-1] == (TaskStatus.SUCCESS, 2 / 3, "step 2")
    assert [status for status, _, _ in reader.states[:-1]].count(TaskStatus.SUCCESS) == 0
    assert len(reader.states) == len(set(reader.states))
    assert reader.error is None


def test_who_comes_late_sees_the_last_state_and_then_the_end(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(progressing.say_and_wait, gate.path, 0.5, "half")
    gate.wait_for_arrivals(1)
    updates = future.updates()

    assert state(next(updates)) == (TaskStatus.STARTED, 0.5, "half")
    gate.open()

    assert states(updates) == [(TaskStatus.SUCCESS, 0.5, "half")]
    assert states(updates) == []
    assert states(future.updates()) == [(TaskStatus.SUCCESS, 0.5, "half")]


def test_an_update_says_when_it_was_seen(q: LocalQueue) -> None:
    before = time.time()

    (update,) = list(q.delay(tasks.noop).updates())[-1:]

    assert before <= update.at <= time.time()
    assert isinstance(update, TaskUpdate)


def test_a_follower_that_takes_its_time_sees_the_latest_and_delays_nobody(
    lone: LocalQueue, steps: Callable[[], Gate]
) -> None:
    before, after = steps(), steps()
    lone.delay(tasks.slow, before.path)
    future = lone.delay(progressing.say_many, 10_000, after.path)
    updates = future.updates()
    assert state(next(updates)) == (TaskStatus.PENDING, None, None)
    before.open()
    after.wait_for_arrivals(1)  # all has been said by now

    assert state(next(updates)) == (TaskStatus.STARTED, 1.0, None)
    after.open()
    assert states(updates) == [(TaskStatus.SUCCESS, 1.0, None)]


def test_a_failure_ends_it_and_is_not_raised(q: LocalQueue) -> None:
    future = q.delay(progressing.say_and_fail, 0.5)

    assert states(future.updates())[-1] == (TaskStatus.FAILURE, 0.5, "about to fail")


def test_a_call_that_was_never_sent_has_ended(q: LocalQueue) -> None:
    future = q.delay(tasks.same, threading.Lock())

    assert states(future.updates()) == [(TaskStatus.FAILURE, None, None)]


def test_cancelling_ends_it_at_once(lone: LocalQueue, gate: Gate) -> None:
    running = lone.delay(progressing.say_and_wait, gate.path, 0.5, "half")
    gate.wait_for_arrivals(1)
    queued = lone.delay(tasks.noop)
    readers = [Read(running.updates()), Read(queued.updates())]
    readers[0].wait_for((TaskStatus.STARTED, 0.5, "half"))
    readers[1].wait_for((TaskStatus.PENDING, None, None))

    assert queued.cancel()
    assert readers[1].join()[-1] == (TaskStatus.CANCELLED, None, None)
    assert running.cancel()
    assert readers[0].join()[-1][0] is TaskStatus.CANCELLED


def test_progress_begins_anew_with_each_run(q: LocalQueue, steps: Callable[[], Gate]) -> None:
    first, second = steps(), steps()
    future = q.options(max_retries=1).delay(progressing.say_per_run, [first.path, second.path])
    reader = Read(future.updates())

    reader.wait_for((TaskStatus.STARTED, 0.9, "run 1"))
    first.open()
    reader.wait_for((TaskStatus.STARTED, None, "run 2"))
    second.open()

    assert reader.join()[-1] == (TaskStatus.SUCCESS, None, "run 2")
    assert (TaskStatus.STARTED, 0.9, "run 2") not in reader.states


def test_it_ends_when_time_is_over(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(tasks.slow, gate.path)
    began = time.monotonic()

    with pytest.raises(TimeoutError, match=rf"task {future.task_id} has not ended within 0.05 s; it goes on"):
        states(future.updates(timeout=0.05))

    assert time.monotonic() - began >= 0.05
    gate.open()
    assert future.result(PATIENCE) is None


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan")])
def test_a_time_that_is_none_is_refused(q: LocalQueue, timeout: Any) -> None:
    future = q.delay(tasks.noop)

    with pytest.raises(ConfigError, match="timeout"):
        future.updates(timeout)


def test_a_call_that_waits_for_another_is_followed_before_it_is_sent(lone: LocalQueue, gate: Gate) -> None:
    first = lone.delay(tasks.slow, gate.path, 3)
    future = lone.delay(tasks.add, first, 4)
    reader = Read(future.updates())
    reader.wait_for((TaskStatus.PENDING, None, None))

    gate.open()

    assert reader.join()[-1] == (TaskStatus.SUCCESS, None, None)
    assert future.result(PATIENCE) == 7


def test_a_task_that_follows_another_of_its_own_queue_makes_it_run(lone: LocalQueue) -> None:
    assert lone.delay(progressing.follow_within, 0.5).result(PATIENCE) == ["success", 0.5]


def test_closing_the_queue_ends_it(gate: Gate) -> None:
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    reader = Read(future.updates())
    reader.wait_for((TaskStatus.STARTED, None, None))

    queue.close(timeout=0.0)

    assert reader.join()[-1] == (TaskStatus.CANCELLED, None, None)


# by id


def test_a_task_is_followed_by_its_id_from_another_process(q: LocalQueue, tmp_path: Path, gate: Gate) -> None:
    future = q.delay(progressing.say_and_wait, gate.path, 0.5, "half")
    gate.wait_for_arrivals(1)
    program = """
        import sys
        from localq import LocalQueue

        with LocalQueue.attach(sys.argv[1]) as q:
            for update in q.follow(sys.argv[2]):
                print(update.status, update.progress, update.message, flush=True)
    """
    with start_script(tmp_path, program, q.name, id_of(future)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started 0.5 half\n"
        gate.open()
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "success 0.5 half\n", "")


def test_a_task_of_another_client_is_followed_to_its_end(q: LocalQueue, steps: Callable[[], Gate]) -> None:
    gates = [steps() for _ in range(2)]
    with LocalQueue.attach(q.name) as guest:
        future = guest.delay(progressing.say_at_each, [gate.path for gate in gates])
        reader = Read(q.follow(id_of(future)))

        for number, gate in enumerate(gates):
            reader.wait_for((TaskStatus.STARTED, number / 2, f"step {number}"))
            gate.open()

        assert reader.join()[-1] == (TaskStatus.SUCCESS, 0.5, "step 1")


@pytest.mark.parametrize("task_id", ["", "ffffffff-0-1", "no id"])
def test_what_is_not_known_can_not_be_followed(q: LocalQueue, task_id: str) -> None:
    with pytest.raises(ConfigError, match="nothing is known of task"):
        q.follow(task_id)


def test_a_result_that_is_pushed_out_ends_it_with_what_is_known() -> None:
    with LocalQueue(workers=1, result_cache_size=0, name="tiny") as queue, LocalQueue.attach("tiny") as guest:
        future = queue.delay(progressing.say, 0.5)
        future.result(PATIENCE)

        assert states(guest.follow(id_of(future))) == [(TaskStatus.EVICTED, 0.5, None)]


def test_leaving_the_queue_ends_it_for_tasks_of_others(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    guest = LocalQueue.attach(q.name)
    reader = Read(guest.follow(id_of(future)))
    reader.wait_for((TaskStatus.STARTED, None, None))

    guest.close()

    reader.join()
    assert isinstance(reader.error, QueueClosed)
    gate.open()
    assert future.result(PATIENCE) is None


# event loops


def count_of_followers() -> int:
    return [thread.name for thread in threading.enumerate()].count("localq-follower")


async def read_async(updates: Any) -> list[State]:
    return [state(update) async for update in updates]


def test_async_for_sees_the_same(q: LocalQueue, steps: Callable[[], Gate]) -> None:
    gates = [steps() for _ in range(2)]

    async def follow() -> list[State]:
        seen = []
        future = q.delay(progressing.say_at_each, [gate.path for gate in gates])
        async for update in future.updates():
            seen.append(state(update))
            if update.message is not None:
                gates[int(update.message[-1])].open()
        return seen

    seen = asyncio.run(follow())

    assert seen[-1] == (TaskStatus.SUCCESS, 0.5, "step 1")
    assert {(TaskStatus.STARTED, 0.0, "step 0"), (TaskStatus.STARTED, 0.5, "step 1")} <= set(seen)


def test_one_thread_follows_many(q: LocalQueue, gate: Gate) -> None:
    async def follow_all() -> tuple[list[list[State]], int]:
        futures: list[TaskFuture[Any]] = [q.delay(progressing.say_and_wait, gate.path, 0.5, "half") for _ in range(2)]
        futures += [q.delay(progressing.say, number / 100) for number in range(100)]
        readers = [asyncio.ensure_future(read_async(future.updates())) for future in futures]
        while not all(future.progress == 0.5 for future in futures[:2]) or not count_of_followers():
            await asyncio.sleep(0.001)
        threads = count_of_followers()
        gate.open()
        return await asyncio.gather(*readers), threads

    seen, threads = asyncio.run(follow_all())

    assert threads == 1
    assert [found[-1][:2] for found in seen[2:]] == [(TaskStatus.SUCCESS, number / 100) for number in range(100)]
    assert {found[-1] for found in seen[:2]} == {(TaskStatus.SUCCESS, 0.5, "half")}
    eventually(lambda: count_of_followers() == 0)


def test_who_begins_to_follow_does_not_disturb_the_thread_that_looks(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(progressing.say_and_wait, gate.path, 0.5, "half")
    errors: list[RuntimeError] = []

    async def follow() -> None:
        followers = Followers(q._client, asyncio.get_running_loop())
        before = q._client.space.note_calls - 1  # something has come since, so that nobody waits
        kept = [future.updates() for _ in range(200)]
        for updates in kept:
            await followers.wait(updates, before, 0)

        def look() -> None:
            try:
                for _ in range(3000):
                    list(followers._behind())
            except RuntimeError as error:
                errors.append(error)

        looking = threading.Thread(target=look)
        looking.start()
        while looking.is_alive():
            await followers.wait(future.updates(), before, 0)

    asyncio.run(follow())
    gate.open()
    assert not errors


def test_a_task_that_never_stops_talking_leaves_the_loop_its_turn(q: LocalQueue) -> None:
    async def follow() -> int:
        future: TaskFuture[Any] = q.delay(progressing.say_for_ever)
        updates, turns = future.updates(), 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.ensure_future(count_turns())
        for _ in range(200):
            await anext(updates)
        counting.cancel()
        future.cancel()
        async for _ in updates:
            pass
        return turns

    assert asyncio.run(follow()) >= 100


def test_cancelling_a_coroutine_that_follows_leaves_the_task_alone(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(tasks.slow, gate.path, "done")

    async def follow_briefly() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await read_async(future.updates())

    asyncio.run(follow_briefly())
    gate.open()

    assert future.result(PATIENCE) == "done"


def test_time_is_over_in_event_loops_too(q: LocalQueue, gate: Gate) -> None:
    future = q.delay(tasks.slow, gate.path)

    async def follow() -> None:
        with pytest.raises(TimeoutError, match="has not ended within"):
            await read_async(future.updates(timeout=0.05))

    asyncio.run(follow())
    gate.open()
    assert future.result(PATIENCE) is None


def test_cancelling_a_task_ends_it_in_event_loops_too(q: LocalQueue, gate: Gate) -> None:
    async def follow() -> list[State]:
        future = q.delay(tasks.slow, gate.path)
        seen = []
        async for update in future.updates():
            seen.append(state(update))
            if update.status is TaskStatus.STARTED:
                future.cancel()
        return seen

    assert asyncio.run(follow())[-1][0] is TaskStatus.CANCELLED


def test_a_coroutine_task_that_follows_another_makes_room_for_it(lone: LocalQueue) -> None:
    assert lone.delay(progressing.follow_later, 0.5).result(PATIENCE) == ["success", 0.5]


# deaths


def test_a_worker_that_dies_amid_its_updates_ends_it(q: LocalQueue) -> None:
    wait_until_staffed(q)
    future: TaskFuture[Any] = q.delay(progressing.say_for_ever)
    reader = Read(future.updates())
    eventually(lambda: any(progress for _, progress, _ in reader.states))

    os.kill(q.get_task_result(id_of(future)).worker_pid, signal.SIGKILL)  # type: ignore[arg-type, union-attr]

    assert reader.join()[-1][0] is TaskStatus.FAILURE
    assert isinstance(future.exception(PATIENCE), WorkerCrashed)
    wait_until_staffed(q)
    audit(q)


def test_a_run_after_a_crash_begins_anew(q: LocalQueue, tmp_path: Path) -> None:
    future: TaskFuture[Any] = q.options(max_crashes=1).delay(progressing.say_and_die_once, str(tmp_path / "marker"))

    seen = states(future.updates())

    assert seen[-1] == (TaskStatus.SUCCESS, None, "again")
    assert future.attempts == 2


def test_many_workers_that_die_amid_their_updates_leave_a_sound_queue() -> None:
    with LocalQueue(workers=2, max_crashes=15) as queue:
        futures = [queue.delay(progressing.say_many, 20_000, None) for _ in range(6)]
        readers = [Read(future.updates()) for future in futures]
        for _ in range(8):
            os.kill(eventually(lambda: ready_workers(queue))[0], signal.SIGKILL)
            wait_until_staffed(queue)

        assert [future.result(PATIENCE) for future in futures] == [None] * 6
        assert {reader.join()[-1] for reader in readers} == {(TaskStatus.SUCCESS, 1.0, None)}
        audit(queue)


def test_a_follower_that_is_killed_leaves_the_task_and_other_followers_alone(
    q: LocalQueue, tmp_path: Path, gate: Gate
) -> None:
    future = q.delay(progressing.say_and_wait, gate.path, 0.5, "half")
    gate.wait_for_arrivals(1)
    program = """
        import sys
        from localq import LocalQueue

        q = LocalQueue.attach(sys.argv[1])
        for update in q.follow(sys.argv[2]):
            print(update.status, flush=True)
    """
    process = start_script(tmp_path, program, q.name, id_of(future))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    reader = Read(future.updates())
    reader.wait_for((TaskStatus.STARTED, 0.5, "half"))

    process.kill()
    process.communicate()
    gate.open()

    assert reader.join()[-1] == (TaskStatus.SUCCESS, 0.5, "half")
    eventually(lambda: q.delay(progressing.say, 1.0).result(PATIENCE) == 1.0)
    audit(q)


def test_ctrl_c_ends_a_follower_at_once(q: LocalQueue, tmp_path: Path, gate: Gate) -> None:
    future = q.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    program = """
        import sys, time
        from localq import LocalQueue

        q = LocalQueue.attach(sys.argv[1])
        try:
            for update in q.follow(sys.argv[2]):
                print(update.status, flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    process = start_script(tmp_path, program, q.name, id_of(future))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"

    began = time.monotonic()
    process.send_signal(signal.SIGINT)

    assert process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - began < 5
    process.communicate(timeout=PATIENCE)
    gate.open()
    assert future.result(PATIENCE) is None
