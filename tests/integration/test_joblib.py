# SPDX-License-Identifier: MIT
"""The joblib backend "localq": `joblib.Parallel` and scikit-learn on our workers."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import pytest

from localq import WorkerCrashed
from tests.support import tasks
from tests.support.queues import is_gone, lines_of
from tests.support.scripts import run_script
from tests.support.waiting import Gate, eventually

joblib = pytest.importorskip("joblib")
localq_joblib = pytest.importorskip("localq.joblib")
Parallel, delayed = joblib.Parallel, joblib.delayed


@pytest.fixture
def on_localq() -> Iterator[Any]:
    with joblib.parallel_config(backend="localq", n_jobs=2) as config:
        yield config["backend"]
        config["backend"].abort_everything(ensure_ready=False)  # pytest holds what it was given for longer than that


def test_parallel_runs_in_workers_and_gives_results_in_order(on_localq):
    found = Parallel()(delayed(tasks.pid_with)(number) for number in range(100))

    assert [number for _pid, number in found] == list(range(100))
    assert os.getpid() not in {pid for pid, _number in found}


def test_parallel_can_be_told_the_backend_itself_and_ends_its_workers():
    pids = set(Parallel(n_jobs=2, backend="localq")(delayed(tasks.pid)() for _ in range(20)))

    gc.collect()
    eventually(lambda: all(is_gone(pid) for pid in pids))


def test_the_workers_end_with_the_block():
    with joblib.parallel_config(backend="localq", n_jobs=2):
        pids = set(Parallel()(delayed(tasks.pid)() for _ in range(20)))
        assert not any(is_gone(pid) for pid in pids)

    gc.collect()
    eventually(lambda: all(is_gone(pid) for pid in pids))


def test_calls_in_one_block_share_workers(on_localq):
    first, second = (set(Parallel()(delayed(tasks.pid)() for _ in range(50))) for _ in range(2))

    assert len(first | second) == 2


def test_another_number_of_jobs_is_another_number_of_workers(on_localq, tmp_path):
    with Gate(tmp_path) as gate:
        assert on_localq.effective_n_jobs(-1) >= 1
        assert list(Parallel(n_jobs=2)(delayed(tasks.same)(1) for _ in range(2))) == [1, 1]
        found = Parallel(n_jobs=3, return_as="generator")(delayed(tasks.slow)(gate.path, n) for n in range(3))
        gate.wait_for_arrivals(3)
        gate.open()

        assert list(found) == [0, 1, 2]


def test_zero_jobs_are_refused_and_one_runs_here(on_localq):
    assert Parallel(n_jobs=1)(delayed(tasks.pid)() for _ in range(2)) == [os.getpid()] * 2
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(tasks.pid)() for _ in range(2))


def test_lambdas_closures_and_generators_work(on_localq):
    offset = 5

    results = Parallel(return_as="generator")(delayed(lambda number: number + offset)(number) for number in range(9))

    assert list(results) == list(range(5, 14))
    assert sorted(Parallel(return_as="generator_unordered")(delayed(abs)(n) for n in range(9))) == list(range(9))


def test_small_calls_are_batched(on_localq):
    Parallel()(delayed(tasks.same)(number) for number in range(20))
    parallel = Parallel()

    assert parallel(delayed(tasks.same)(number) for number in range(3000)) == list(range(3000))
    assert parallel.n_dispatched_batches < 1500


def test_an_exception_ends_the_call_and_the_next_one_works(on_localq):
    with pytest.raises(tasks.Mishap) as raised:
        Parallel()(delayed(tasks.fail_if_odd)(number) for number in range(50))

    assert raised.value.code % 2 == 1
    assert Parallel()(delayed(tasks.same)(number) for number in range(3)) == [0, 1, 2]


def test_a_parallel_that_is_held_open_works_after_an_exception():
    with Parallel(n_jobs=2, backend="localq") as parallel:
        with pytest.raises(tasks.Mishap):
            parallel(delayed(tasks.fail_if_odd)(number) for number in range(50))

        assert parallel(delayed(tasks.same)(number) for number in range(3)) == [0, 1, 2]
    del parallel
    gc.collect()


def test_an_exception_ends_what_runs(on_localq, tmp_path):
    with Gate(tmp_path) as gate, pytest.raises(tasks.Mishap):
        Parallel()(delayed(tasks.call)(call) for call in [(tasks.slow, gate.path), (tasks.fail,)])


def test_a_worker_that_dies_fails_the_call_and_the_next_one_works(on_localq):
    with pytest.raises(WorkerCrashed):
        Parallel()(delayed(os._exit)(3) for _ in range(2))

    assert Parallel()(delayed(tasks.same)(number) for number in range(3)) == [0, 1, 2]


def test_a_call_that_takes_too_long_ends_with_timeout_error(on_localq, tmp_path):
    with Gate(tmp_path) as gate, pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.1)(delayed(tasks.slow)(gate.path) for _ in range(2))


def powers_of(number: int, backend: str | None) -> list[int]:
    found: list[int] = Parallel(n_jobs=2, backend=backend)(delayed(pow)(number, power) for power in range(4))
    return found


@pytest.mark.parametrize("backend", [None, "localq", "threading"])
def test_parallel_calls_nest(on_localq, backend):
    found = Parallel()(delayed(powers_of)(number, backend) for number in range(4))

    assert found == [[1, number, number**2, number**3] for number in range(4)]


def test_options_of_the_queue_can_be_given(tmp_path):
    path = str(tmp_path / "lines")
    with joblib.parallel_config(backend="localq", n_jobs=2, initializer=tasks.record, initargs=(path, "ready")):
        Parallel()(delayed(tasks.noop)() for _ in range(20))
    gc.collect()

    assert "ready" in lines_of(path)


def test_threads_of_libraries_are_limited_as_told():
    with joblib.parallel_config(backend="localq", n_jobs=2, inner_max_num_threads=3):
        found = Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(4))
    gc.collect()

    assert set(found) == {os.environ.get("OMP_NUM_THREADS", "3")}


def test_a_program_needs_one_import_and_no_guard(tmp_path):
    shown = run_script(
        tmp_path,
        """
        import joblib, localq.joblib
        def area(width, height): return width * height
        with joblib.parallel_config(backend="localq", n_jobs=2):
            print(joblib.Parallel()(joblib.delayed(area)(n, 2) for n in range(4)))
        """,
    )

    assert shown == "[0, 2, 4, 6]\n"


# ---- scikit-learn


@pytest.fixture(scope="module")
def sklearn() -> Any:
    """Imported before a test begins: its libraries start threads of their own then, and keep them."""
    return pytest.importorskip("sklearn.model_selection")


@pytest.mark.slow
def test_scikit_learn_searches_and_validates_on_it(sklearn, on_localq):
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    x, y = make_classification(n_samples=120, n_features=6, random_state=0)
    model = LogisticRegression()
    search = {"C": [0.1, 1.0, 10.0]}

    scores = cross_val_score(model, x, y, cv=4, n_jobs=2)
    found = GridSearchCV(model, search, cv=3, n_jobs=2).fit(x, y)

    assert on_localq._executor is not None  # it was this one that did the work
    with joblib.parallel_config(backend="sequential"):
        assert scores.tolist() == cross_val_score(model, x, y, cv=4).tolist()
        assert found.best_params_ == GridSearchCV(model, search, cv=3).fit(x, y).best_params_


def test_the_backend_is_registered_by_its_import():
    assert joblib.parallel.BACKENDS["localq"] is localq_joblib.LocalqBackend
