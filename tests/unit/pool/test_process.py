# SPDX-License-Identifier: MIT
"""How the supervisor starts: clean or forked, with the client's path, folder and environment, and what it preloads."""

from __future__ import annotations

import os
import sys

import pytest

from localq import FunctionNotFound, LocalQueue
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, lines_of, supervisor_of, wait_until_staffed
from tests.support.scripts import run_script


def test_modules_on_the_client_s_path_are_found(tmp_path, monkeypatch):
    (tmp_path / "only_here_1.py").write_text("def f(x): return ('here', x)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here_1  # type: ignore[import-not-found]

    with LocalQueue(workers=1) as queue:
        assert queue.delay(only_here_1.f, 1).result(PATIENCE) == ("here", 1)


def test_a_module_that_workers_cannot_find_fails_its_task_alone_and_is_named(tmp_path, monkeypatch):
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        (tmp_path / "only_here_2.py").write_text("def f(x): return x\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        import only_here_2  # type: ignore[import-not-found]

        error = queue.delay(only_here_2.f, 1).exception(PATIENCE)

        assert isinstance(error, FunctionNotFound)
        assert "only_here_2" in str(error)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_workers_work_in_the_client_s_folder_with_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with LocalQueue(workers=1) as queue:
        path, folder = queue.delay(tasks.path_and_folder).result(PATIENCE)

    assert folder == str(tmp_path)
    assert path == sys.path


def test_a_folder_that_was_removed_stops_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with LocalQueue(workers=1) as queue:
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_program_run_from_another_folder_finds_its_own_modules(tmp_path):
    (tmp_path / "beside.py").write_text("def f(x): return x + 1\n")
    said = run_script(
        tmp_path,
        """
        import os
        import beside
        from localq import LocalQueue
        os.chdir("/")
        with LocalQueue(workers=1) as q:
            print(q.delay(beside.f, 1).result(), q.delay(os.getcwd).result())
        """,
    )

    assert said == "2 /\n"


def test_the_environment_of_the_client_is_the_workers(monkeypatch):
    monkeypatch.setenv("LOCALQ_TEST_VALUE", "x")
    with LocalQueue(workers=1) as queue:
        assert queue.delay(os.environ.get, "LOCALQ_TEST_VALUE").result(PATIENCE) == "x"


def test_threads_of_numeric_libraries_are_limited_unless_the_user_has_said_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")

    def limits() -> list[str | None]:
        return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]

    found = []
    for threads in (1, 3, None):
        with LocalQueue(workers=1, threads_per_worker=threads) as queue:
            found.append(queue.delay(limits).result(PATIENCE))

    assert found == [["1", "7"], ["3", "7"], [None, "7"]]
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("method", ["clean", "fork"])
def test_only_a_forked_supervisor_inherits_what_the_client_has_set(tmp_path, method):
    (tmp_path / "state.py").write_text("value = 'as imported'\ndef get(): return value\n")
    said = run_script(
        tmp_path,
        f"""
        import state
        from localq import LocalQueue
        state.value = "as set"
        with LocalQueue(workers=2, start_method="{method}") as q:
            print(q.delay(state.get).result(), list(q.map(abs, range(-2, 2))))
        """,
    )

    assert said == {"clean": "as imported", "fork": "as set"}[method] + " [2, 1, 0, 1]\n"


def test_a_forked_supervisor_keeps_every_promise_of_a_clean_one(tmp_path):
    said = run_script(
        tmp_path,
        """
        import os, signal, sys
        from localq import LocalQueue, WorkerCrashed
        from tests.support import tasks
        q = LocalQueue(workers=2, start_method="fork", max_tasks_per_child=50)
        print(sorted(q.map(tasks.same, range(500), chunksize=1)) == list(range(500)))
        print(type(q.delay(tasks.exit_hard).exception()).__name__)
        print(repr(q.delay(os.read, 0, 10).result()))
        print(q.delay(lambda: 7).result())
        q.close()
        """,
    )

    assert said.splitlines() == ["True", "WorkerCrashed", "b''", "7"]


def test_a_forked_supervisor_runs_nothing_that_the_program_meant_for_its_own_end(tmp_path):
    said = run_script(
        tmp_path,
        """
        import atexit, os
        from localq import LocalQueue
        from tests.support import tasks
        atexit.register(lambda: print("the end", flush=True))
        with LocalQueue(workers=2, start_method="fork") as q:
            q.delay(tasks.noop).result()
        print("closed", flush=True)
        """,
    )

    assert said == "closed\nthe end\n"


def test_what_is_preloaded_is_imported_once_for_all_workers(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    (tmp_path / "heavy_module.py").write_text(f"import os\nopen({str(seen)!r}, 'a').write(f'{{os.getpid()}}\\n')\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def is_loaded() -> bool:
        return "heavy_module" in sys.modules

    with LocalQueue(workers=2, preload=("heavy_module",)) as queue:
        wait_until_staffed(queue)
        assert all(queue.delay(is_loaded).result(PATIENCE) for _ in range(10))

        assert lines_of(seen) == [str(supervisor_of(queue))]


def test_a_module_that_cannot_be_preloaded_is_reported_and_stops_nothing(tmp_path, monkeypatch, capfd):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('broken on import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalQueue(workers=1, preload=("broken_module", "no_such_module_at_all")) as queue:
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

    said = capfd.readouterr().err
    assert "broken_module" in said
    assert "broken on import" in said
    assert "no_such_module_at_all" in said


def test_the_queue_takes_work_before_its_workers_are_up(tmp_path, monkeypatch):
    (tmp_path / "held_module.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n    time.sleep(0.001)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalQueue(workers=1, preload=("held_module",)) as queue:
        futures = [queue.delay(tasks.same, number) for number in range(50)]
        assert not any(future.done() for future in futures)
        (tmp_path / "go").touch()

        assert [future.result(PATIENCE) for future in futures] == list(range(50))
        audit(queue)


def test_a_queue_can_be_closed_before_its_workers_are_up(tmp_path, monkeypatch):
    (tmp_path / "endless_module.py").write_text("import time\nwhile True: time.sleep(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    queue = LocalQueue(workers=1, preload=("endless_module",))
    future = queue.delay(tasks.noop)
    supervisor = supervisor_of(queue)

    queue.close(timeout=0)

    assert is_gone(supervisor)
    assert future.done()


def test_many_queues_one_after_the_other_leave_nothing():
    for number in range(10):
        with LocalQueue(workers=1) as queue:
            assert queue.delay(tasks.same, number).result(PATIENCE) == number


def test_the_interpreter_s_options_carry_over(tmp_path):
    said = run_script(
        tmp_path,
        """
        import subprocess, sys
        if len(sys.argv) == 1:
            sys.exit(subprocess.run([sys.executable, "-O", "-X", "utf8", __file__, "again"]).returncode)
        from localq import LocalQueue
        def flags():
            import sys
            return sys.flags.optimize, sys.flags.utf8_mode
        with LocalQueue(workers=1) as q:
            print(q.delay(flags).result())
        """,
    )

    assert said == "(1, 1)\n"


def test_a_forked_child_that_ends_as_programs_do_leaves_its_parents_queue_alone(tmp_path):
    """It has the parent's objects, and the interpreter ends them one by one."""
    script = """
    import os, sys
    from localq import LocalQueue

    with LocalQueue(workers=1) as q:
        assert q.delay(abs, -1).result() == 1
        before = q._connection.hold.supervisor_pid
        if os.fork() == 0:
            sys.exit()
        os.waitpid(-1, 0)
        assert q.delay(abs, -2).result() == 2
        assert q._connection.hold.supervisor_pid == before
    print("well")
    """

    assert run_script(tmp_path, script) == "well\n"
