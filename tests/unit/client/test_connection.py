# SPDX-License-Identifier: MIT
"""The end of a queue: closed, dropped, left by an error, by Ctrl-C, by a fork, by the end of the interpreter."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from typing import Any

import pytest

from localq import ConfigError, LocalQueue, QueueClosed, TaskCancelled, TaskStatus
from tests.support import tasks
from tests.support.queues import (
    PATIENCE,
    id_of,
    is_gone,
    lines_of,
    read,
    ready_workers,
    supervisor_of,
    wait_until_staffed,
)
from tests.support.scripts import WATCHDOG, run_script, start_script
from tests.support.waiting import Gate, eventually

# ---- close


def test_close_waits_for_everything_and_ends_every_process(tmp_path):
    queue = LocalQueue(workers=2)
    pids = [supervisor_of(queue), *wait_until_staffed(queue)]
    futures = [queue.delay(tasks.record, str(tmp_path / "seen"), str(number)) for number in range(200)]

    queue.close()

    assert len(lines_of(tmp_path / "seen")) == 200
    assert all(future.done() for future in futures)
    assert all(map(is_gone, pids))


def test_close_waits_for_a_task_that_runs(gate):
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.slow, gate.path, "value")
    gate.wait_for_arrivals(1)
    closing = threading.Thread(target=queue.close)
    closing.start()
    eventually(lambda: queue.closed)
    assert not future.done()

    gate.open()

    closing.join(PATIENCE)
    assert future.result(0) == "value"


def test_a_queue_that_never_had_a_task_closes():
    for _ in range(5):
        LocalQueue(workers=1).close()


def test_closing_again_changes_nothing():
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.same, 1)
    queue.close()

    queue.close()
    queue.close(wait=False)
    queue.close(cancel_pending=True, timeout=0)

    assert future.result(0) == 1


def test_nothing_can_be_submitted_after_close():
    queue = LocalQueue(workers=1)
    view = queue.options(priority="high")
    queue.close()

    for call in (
        lambda: queue.delay(tasks.noop),
        lambda: view.delay(tasks.noop),
        lambda: queue.map(tasks.noop, [1]),
        lambda: queue.starmap(tasks.noop, [(1,)]),
        lambda: queue.submit_task(tasks.noop),
    ):
        with pytest.raises(QueueClosed, match="closed"):
            call()


def test_results_can_be_read_after_close():
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.same, {"a": 1})
    other = queue.delay(tasks.same, "x" * 100_000)
    queue.close()

    assert future.result(0) == {"a": 1}
    assert other.result(0) == "x" * 100_000
    assert read(queue, id_of(future)).value == {"a": 1}
    assert queue.get_status(id_of(other)) is TaskStatus.SUCCESS
    assert not future.cancel()


def test_close_without_waiting_returns_while_tasks_go_on_to_their_end(gate):
    queue = LocalQueue(workers=1)
    running = queue.delay(tasks.slow, gate.path, 1)
    queued = [queue.delay(tasks.same, number) for number in range(20)]
    gate.wait_for_arrivals(1)
    pids = [supervisor_of(queue), *ready_workers(queue)]

    queue.close(wait=False)

    assert not running.done()
    with pytest.raises(QueueClosed):
        queue.delay(tasks.noop)
    gate.open()
    assert running.result(PATIENCE) == 1
    assert [future.result(PATIENCE) for future in queued] == list(range(20))
    eventually(lambda: all(map(is_gone, pids)), what="the processes end by themselves")


def test_a_queue_closed_without_waiting_can_be_closed_with_waiting(gate):
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.slow, gate.path, 1)
    gate.wait_for_arrivals(1)
    pids = [supervisor_of(queue), *ready_workers(queue)]
    queue.close(wait=False)
    gate.open()

    queue.close()

    assert future.result(0) == 1
    assert all(map(is_gone, pids))


def test_close_can_cancel_what_has_not_started(tmp_path, gate):
    queue = LocalQueue(workers=1)
    running = queue.delay(tasks.slow, gate.path, 1)
    gate.wait_for_arrivals(1)
    queued = [queue.delay(tasks.record, str(tmp_path / "seen"), "x") for _ in range(10)]
    closing = threading.Thread(target=queue.close, kwargs={"cancel_pending": True})
    closing.start()
    eventually(lambda: all(future.cancelled() for future in queued))

    gate.open()

    closing.join(PATIENCE)
    assert running.result(0) == 1
    assert lines_of(tmp_path / "seen") == []


def test_close_kills_what_still_runs_after_its_timeout(gate):
    queue = LocalQueue(workers=1)
    running = queue.delay(tasks.slow, gate.path)
    queued = queue.delay(tasks.noop)
    (worker,) = gate.wait_for_arrivals(1)
    start = time.monotonic()

    queue.close(timeout=0.05)

    assert time.monotonic() - start >= 0.05
    assert is_gone(worker)
    for future in (running, queued):
        assert future.done()
        with pytest.raises(TaskCancelled):
            future.result(0)
        assert future.status is TaskStatus.CANCELLED
        assert future.cancelled()


def test_a_timeout_that_is_no_number_of_seconds_is_refused(q):
    for timeout in (-1, "1", True):
        with pytest.raises(ConfigError, match="timeout"):
            q.close(timeout=timeout)

    assert q.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_call_that_waits_for_room_learns_of_the_close(gate):
    queue = LocalQueue(workers=1, capacity=1)
    queue.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    found: list[BaseException] = []

    def submit() -> None:
        try:
            queue.delay(tasks.noop)
        except BaseException as error:
            found.append(error)

    waiting = threading.Thread(target=submit)
    waiting.start()
    queue.close(timeout=0.05)
    waiting.join(PATIENCE)

    assert not waiting.is_alive()
    assert isinstance(found[0], QueueClosed)


def test_a_thread_that_waits_for_a_result_learns_of_the_close(gate):
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    found: list[BaseException | None] = []

    def wait() -> None:
        try:
            found.append(future.exception(PATIENCE))
        except BaseException as error:
            found.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    queue.close(timeout=0.02)
    waiting.join(PATIENCE)

    assert isinstance(found[0], TaskCancelled)


def test_callbacks_are_called_when_close_ends_their_tasks(gate):
    seen: list[object] = []
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.slow, gate.path)
    future.add_done_callback(seen.append)
    gate.wait_for_arrivals(1)

    queue.close(timeout=0)

    eventually(lambda: seen == [future])


def test_threads_may_close_at_once():
    queue = LocalQueue(workers=2)
    future = queue.delay(tasks.same, 1)
    threads = [threading.Thread(target=queue.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert future.result(0) == 1


def test_a_closed_queue_that_was_dropped_gives_its_memory_back_without_the_collector():
    def mapped() -> int:
        with open("/proc/self/maps") as lines:
            return sum("/memfd:localq" in line for line in lines)

    gc.collect()
    before = mapped()
    gc.disable()
    try:
        with LocalQueue(workers=1) as queue:
            assert queue.delay(len, b"x" * 1_000_000).result(PATIENCE) == 1_000_000
            assert mapped() > before
        del queue

        assert mapped() == before
    finally:
        gc.enable()


# ---- with


def test_an_error_in_the_block_cancels_what_waits_and_finishes_what_runs(tmp_path, gate):
    futures: list[Any] = []
    raised: list[BaseException] = []

    def block() -> None:
        try:
            with LocalQueue(workers=1) as queue:
                futures.append(queue.delay(tasks.slow, gate.path, 1))
                gate.wait_for_arrivals(1)
                futures.append(queue.delay(tasks.record, str(tmp_path / "seen"), "x"))
                raise LookupError("of the block")
        except LookupError as error:
            raised.append(error)

    leaving = threading.Thread(target=block)
    leaving.start()
    eventually(lambda: futures[1].cancelled())
    assert not futures[0].done()

    gate.open()

    leaving.join(PATIENCE)
    assert futures[0].result(0) == 1
    assert lines_of(tmp_path / "seen") == []
    assert "of the block" in str(raised[0])


def test_ctrl_c_in_the_block_waits_for_nothing(gate):
    def block() -> None:
        with LocalQueue(workers=1) as queue:
            futures.append(queue.delay(tasks.slow, gate.path))
            gate.wait_for_arrivals(1)
            raise KeyboardInterrupt

    futures: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        block()

    assert futures[0].cancelled()


# ---- dropped


def test_a_queue_dropped_without_close_is_collected_and_ends():
    queue = LocalQueue(workers=1)
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
    pids = [supervisor_of(queue), *ready_workers(queue)]
    dropped = weakref.ref(queue)

    del queue
    gc.collect()

    assert dropped() is None
    eventually(lambda: all(map(is_gone, pids)))


def test_a_queue_used_with_functions_maps_and_callbacks_is_collected_when_dropped():
    seen: list[object] = []
    queue = LocalQueue(workers=1)
    factor = 2
    assert list(queue.map(lambda value: value * factor, range(10))) == list(range(0, 20, 2))
    queue.options(priority="high").delay(tasks.noop).add_done_callback(seen.append)
    eventually(lambda: seen)
    pids = [supervisor_of(queue), *ready_workers(queue)]
    seen.clear()
    dropped = weakref.ref(queue)

    del queue
    gc.collect()

    eventually(lambda: gc.collect() is not None and dropped() is None)
    eventually(lambda: all(map(is_gone, pids)))


def test_a_future_of_a_queue_that_nobody_holds_any_more_still_gets_its_result():
    assert LocalQueue(workers=1).delay(tasks.add, 1, 2).result(PATIENCE) == 3


def test_a_map_of_a_queue_that_nobody_holds_any_more_still_gives_its_results():
    assert list(LocalQueue(workers=1).map(tasks.add, range(100))) == list(range(1, 101))


def test_a_view_of_a_queue_that_nobody_holds_any_more_still_takes_calls():
    view = LocalQueue(workers=1).options(priority="high")
    gc.collect()

    assert view.delay(tasks.add, 1, 2).result(PATIENCE) == 3


# ---- the end of the interpreter


def test_a_program_that_ends_without_close_has_its_work_done_first(tmp_path):
    said = run_script(
        tmp_path,
        """
        import sys
        from localq import LocalQueue
        from tests.support import tasks
        q = LocalQueue(workers=2)
        futures = [q.delay(tasks.record, sys.argv[1], str(number)) for number in range(100)]
        print(q._connection.hold.supervisor_pid)
        """,
        str(tmp_path / "seen"),
    )

    assert sorted(map(int, lines_of(tmp_path / "seen"))) == list(range(100))
    eventually(lambda: is_gone(int(said)))


def test_a_program_that_never_looks_back_has_its_work_done(tmp_path):
    run_script(
        tmp_path,
        """
        import sys
        from localq import LocalQueue
        from tests.support import tasks
        q = LocalQueue(workers=1)
        q.delay(tasks.record, sys.argv[1], "x").add_done_callback(lambda future: print("called", flush=True))
        """,
        str(tmp_path / "seen"),
    )

    assert lines_of(tmp_path / "seen") == ["x"]


def test_a_program_that_ends_with_an_error_ends(tmp_path):
    process = start_script(
        tmp_path,
        """
        import sys
        from localq import LocalQueue
        from tests.support import tasks
        with LocalQueue(workers=1) as q:
            q.delay(tasks.noop)
            raise LookupError("of the program")
        """,
    )
    with process:
        _, err = process.communicate(timeout=WATCHDOG)

    assert process.returncode == 1
    assert err.rstrip().endswith("LookupError: of the program")


def test_two_queues_in_one_program_do_not_disturb_each_other():
    with LocalQueue(workers=1) as first, LocalQueue(workers=1) as second:
        a = [first.delay(tasks.same, number) for number in range(50)]
        b = [second.delay(tasks.same, -number) for number in range(50)]
        assert [future.result(PATIENCE) for future in b] == [-number for number in range(50)]
        first.close()
        assert [future.result(0) for future in a] == list(range(50))
        assert second.delay(tasks.same, 1).result(PATIENCE) == 1


# ---- Ctrl-C


@pytest.mark.parametrize("guarded", [True, False], ids=["with", "bare"])
def test_ctrl_c_while_waiting_ends_the_program_and_every_process(tmp_path, guarded):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            f"""
            import sys
            from localq import LocalQueue
            from tests.support import tasks
            q = LocalQueue(workers=2)
            if {guarded}:
                q.__enter__()
                try:
                    q.delay(tasks.slow, sys.argv[1]).result()
                except BaseException as error:
                    q.__exit__(type(error), error, error.__traceback__)
                    raise
            else:
                try:
                    q.delay(tasks.slow, sys.argv[1]).result()
                except KeyboardInterrupt:
                    q.close(cancel_pending=True, timeout=0)
                    raise
            """,
            gate.path,
        )
        with process:
            (worker,) = gate.wait_for_arrivals(1, within=WATCHDOG)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=WATCHDOG)

        assert process.returncode == -signal.SIGINT
        assert err.rstrip().endswith("KeyboardInterrupt")
        eventually(lambda: is_gone(worker))


def test_ctrl_c_while_a_program_waits_for_its_queue_to_close_ends_it(tmp_path):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            """
            import sys
            from localq import LocalQueue
            from tests.support import tasks
            with LocalQueue(workers=1) as q:
                q.delay(tasks.slow, sys.argv[1])
            """,
            gate.path,
        )
        with process:
            (worker,) = gate.wait_for_arrivals(1, within=WATCHDOG)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=WATCHDOG)

        assert process.returncode == -signal.SIGINT
        assert "KeyboardInterrupt" in err
        eventually(lambda: is_gone(worker))


def test_a_queue_is_usable_after_ctrl_c_was_caught(tmp_path):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            """
            import sys
            from localq import LocalQueue
            from tests.support import tasks
            with LocalQueue(workers=2) as q:
                future = q.delay(tasks.slow, sys.argv[1], "kept")
                try:
                    future.result()
                except KeyboardInterrupt:
                    print("caught", q.delay(tasks.add, 1, 2).result(), flush=True)
                sys.stdout.flush()
                print(future.result())
            """,
            gate.path,
        )
        with process:
            gate.wait_for_arrivals(1, within=WATCHDOG)
            os.killpg(process.pid, signal.SIGINT)
            assert process.stdout is not None
            assert process.stdout.readline() == "caught 3\n"
            gate.open()
            out, err = process.communicate(timeout=WATCHDOG)

        assert (process.returncode, out, err) == (0, "kept\n", "")


def test_ctrl_c_does_not_reach_a_task(tmp_path):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            """
            import signal, sys
            from localq import LocalQueue
            from tests.support import tasks
            signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
            with LocalQueue(workers=1) as q:
                print(q.delay(tasks.slow, sys.argv[1], "unharmed").result())
            """,
            gate.path,
        )
        with process:
            gate.wait_for_arrivals(1, within=WATCHDOG)
            os.killpg(process.pid, signal.SIGINT)
            assert process.stdout is not None
            assert process.stdout.readline() == "heard\n"
            gate.open()
            out, err = process.communicate(timeout=WATCHDOG)

        assert (process.returncode, out, err) == (0, "unharmed\n", "")


# ---- forks


def test_a_forked_child_is_refused_and_does_not_disturb_its_parent(tmp_path):
    with Gate(tmp_path) as gate:
        process = start_script(
            tmp_path,
            """
            import gc, os, sys
            from localq import LocalQueue, QueueClosed
            from tests.support import tasks

            q = LocalQueue(workers=1)
            done = q.delay(tasks.same, 1)
            done.result()
            held = q.delay(tasks.slow, sys.argv[1], "of the parent")

            def refused(call):
                try:
                    return f"not refused: {call()!r}"
                except QueueClosed:
                    return "refused"

            pid = os.fork()
            if pid == 0:
                print(refused(lambda: q.delay(tasks.noop)))
                print(refused(lambda: q.map(abs, [1])))
                print(refused(held.result))
                print(held.cancel(), done.result())
                q.close()
                del q
                gc.collect()
                sys.exit(0)
            _, status = os.waitpid(pid, 0)
            print(status, flush=True)
            print(held.result(), q.delay(tasks.same, 2).result(), list(q.map(abs, range(3))))
            q.close()
            """,
            gate.path,
        )
        with process:
            assert process.stdout is not None
            said = [process.stdout.readline().rstrip() for _ in range(5)]
            gate.open()
            out, err = process.communicate(timeout=WATCHDOG)

    assert said == ["refused"] * 3 + ["False 1", "0"]
    assert (process.returncode, out, err) == (0, "of the parent 2 [0, 1, 2]\n", "")


def test_a_forked_child_can_open_a_queue_of_its_own(tmp_path):
    said = run_script(
        tmp_path,
        """
        import os, sys
        from localq import LocalQueue
        from tests.support import tasks

        with LocalQueue(workers=1) as q:
            q.delay(tasks.noop).result()
            pid = os.fork()
            if pid == 0:
                with LocalQueue(workers=1) as mine:
                    print(mine.delay(tasks.same, "child").result(), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
            print(q.delay(tasks.same, "parent").result())
        """,
    )

    assert said == "child\nparent\n"


def test_a_program_that_reaps_all_its_children_can_use_and_close_a_queue(tmp_path):
    said = run_script(
        tmp_path,
        """
        import os, signal
        from localq import LocalQueue
        from tests.support import tasks

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with LocalQueue(workers=2) as q:
            print(q.delay(tasks.same, 1).result(), sum(q.map(abs, range(100))))
        """,
    )

    assert said == "1 4950\n"
