# SPDX-License-Identifier: MIT
"""The client is killed: supervisor and workers end with it, whatever they do."""

from __future__ import annotations

import signal

import pytest

from tests.support.queues import is_gone
from tests.support.scripts import WATCHDOG, start_script
from tests.support.waiting import Gate, eventually

PROGRAM = """
    import os, sys, time
    from localq import LocalQueue
    from tests.support import tasks
    from tests.support.queues import supervisor_of, wait_until_staffed

    queue = LocalQueue(workers=2, start_method=sys.argv[1])
    workers = wait_until_staffed(queue)
    if sys.argv[2] == "busy":
        futures = [queue.delay(tasks.slow, sys.argv[3]) for _ in range(10)]
    if sys.argv[2] == "spinning":
        futures = [queue.delay(tasks.spin, sys.argv[3]) for _ in range(10)]
    print(supervisor_of(queue), *workers, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGABRT], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", ["idle", "busy", "spinning"])
@pytest.mark.parametrize("start_method", ["clean", "fork"])
def test_a_client_that_is_killed_takes_its_supervisor_and_its_workers_along(tmp_path, start_method, moment, number):
    with Gate(tmp_path) as gate:
        process = start_script(tmp_path, PROGRAM, start_method, moment, gate.path)
        with process:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 3
            if moment != "idle":
                gate.wait_for_arrivals(2)

            process.send_signal(number)

            process.wait(WATCHDOG)
            eventually(lambda: all(map(is_gone, pids)), within=5)


def test_a_client_killed_while_its_supervisor_starts_leaves_nobody(tmp_path):
    process = start_script(
        tmp_path,
        """
        import os, signal
        from localq import LocalQueue
        queue = LocalQueue(workers=2)
        print(queue._connection.hold.supervisor_pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    with process:
        out, _ = process.communicate(timeout=WATCHDOG)

    assert process.returncode == -signal.SIGKILL
    eventually(lambda: is_gone(int(out)), within=5)


def test_an_owner_that_becomes_another_program_by_exec_leaves_nobody(tmp_path):
    program = PROGRAM.replace("time.sleep(1000)", 'os.execv("/bin/sleep", ["sleep", "1000"])')
    with Gate(tmp_path) as gate, start_script(tmp_path, program, "clean", "busy", gate.path) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]

        eventually(lambda: all(map(is_gone, pids)), within=5)

        assert process.poll() is None
        process.kill()


def test_a_program_that_wants_to_be_ended_by_sigpipe_is_not_ended_by_its_queue(tmp_path):
    program = """
        import os, signal
        from localq import LocalQueue
        from tests.support.queues import supervisor_of, wait_until_staffed
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for _ in range(5):
            queue = LocalQueue(workers=1)
            wait_until_staffed(queue)
            os.kill(supervisor_of(queue), signal.SIGKILL)
            queue.close()
        print("alive")
    """
    with start_script(tmp_path, program) as process:
        out, _ = process.communicate(timeout=WATCHDOG)
    assert (out, process.returncode) == ("alive\n", 0)


def test_a_queue_whose_stderr_nobody_reads_mends_itself_all_the_same(tmp_path):
    program = """
        import os, signal, sys
        hear, tell = os.pipe()
        os.dup2(tell, 2)
        os.close(tell)
        os.close(hear)
        from localq import LocalQueue
        from tests.support import tasks
        from tests.support.queues import supervisor_of, wait_until_staffed
        with LocalQueue(workers=1, preload=("no_such_module",), max_retries=5) as queue:
            wait_until_staffed(queue)
            os.kill(supervisor_of(queue), signal.SIGKILL)
            print(queue.delay(tasks.same, 5).result(), flush=True)
    """
    with start_script(tmp_path, program) as process:
        out, _ = process.communicate(timeout=WATCHDOG)
    assert out == "5\n"
