# SPDX-License-Identifier: MIT
"""Libraries that take an executor, or its `map`, take ours: asyncio, tqdm, Dask, SciPy. joblib is next door."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from typing import Any

import pytest

from localq import LocalExecutor, WorkerCrashed
from tests.support import tasks
from tests.support.waiting import Gate


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(2) as made:
        yield made


@pytest.fixture(scope="module")
def tqdm() -> Any:
    """Without the thread that it would start for good."""
    package = pytest.importorskip("tqdm")
    package.tqdm.monitor_interval = 0
    return package.tqdm


@pytest.fixture(scope="module")
def optimize() -> Any:
    """Imported before a test begins: its libraries start threads of their own then, and keep them."""
    return pytest.importorskip("scipy.optimize")


# ---- asyncio


def test_asyncio_runs_calls_in_it_at_once(executor, tmp_path):
    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        with Gate(tmp_path) as gate:
            held = [loop.run_in_executor(executor, tasks.slow, gate.path, number) for number in range(2)]
            await loop.run_in_executor(None, gate.wait_for_arrivals, 2)
            gate.open()
            return await asyncio.gather(*held)

    assert asyncio.run(main()) == [0, 1]


def test_asyncio_gets_the_error_of_a_call(executor):
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(executor, tasks.fail, "no paper")

    with pytest.raises(tasks.Mishap, match="no paper"):
        asyncio.run(main())


def test_asyncio_gets_the_death_of_a_worker_and_goes_on(executor):
    async def main() -> object:
        loop = asyncio.get_running_loop()
        with pytest.raises(WorkerCrashed):
            await loop.run_in_executor(executor, tasks.kill_self)
        return await loop.run_in_executor(executor, tasks.same, 7)

    assert asyncio.run(main()) == 7


def test_asyncio_cancels_a_call_that_has_not_started(executor, tmp_path):
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        with Gate(tmp_path) as gate:
            held = [loop.run_in_executor(executor, tasks.slow, gate.path) for _ in range(2)]
            await loop.run_in_executor(None, gate.wait_for_arrivals, 2)
            waiting = loop.run_in_executor(executor, tasks.record, str(tmp_path / "lines"), "ran")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await waiting
            gate.open()
            await asyncio.gather(*held)
        await loop.run_in_executor(executor, tasks.noop)
        return waiting.cancelled()

    assert asyncio.run(main())
    assert not os.path.exists(tmp_path / "lines")


# ---- tqdm


def test_tqdm_shows_a_map_as_it_goes(executor, tqdm):
    screen = io.StringIO()

    assert sum(tqdm(executor.map(abs, range(50), chunksize=5), total=50, file=screen, mininterval=0)) == 1225
    assert "50/50" in screen.getvalue()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("lock_name", ["", "mp_lock"])
def test_tqdms_own_map_takes_it_in_the_place_of_a_pool(tqdm, lock_name):
    concurrent = pytest.importorskip("tqdm.contrib.concurrent")
    screen = io.StringIO()

    found = concurrent._executor_map(
        LocalExecutor, abs, range(-20, 0), max_workers=2, lock_name=lock_name, file=screen, mininterval=0
    )

    assert list(found) == list(range(20, 0, -1))
    assert "20/20" in screen.getvalue()


# ---- Dask


def test_dask_computes_delayed_calls_with_it(executor):
    dask = pytest.importorskip("dask")
    load = dask.delayed(lambda number: (os.getpid(), number))
    total = dask.delayed(lambda parts: ({pid for pid, _ in parts}, sum(number for _, number in parts)))

    pids, found = total([load(number) for number in range(20)]).compute(scheduler=executor)

    assert found == 190
    assert os.getpid() not in pids


def test_dask_computes_a_bag_with_it(executor):
    bag = pytest.importorskip("dask.bag")

    numbers = bag.from_sequence(range(100), npartitions=7)

    assert numbers.map(lambda n: n + 1).filter(lambda n: n % 2).sum().compute(scheduler=executor) == 2500


def test_dask_raises_the_error_of_a_call(executor):
    dask = pytest.importorskip("dask")

    with pytest.raises(tasks.Mishap, match="no paper"):
        dask.delayed(tasks.fail)("no paper").compute(scheduler=executor)
    assert dask.delayed(tasks.same)(3).compute(scheduler=executor) == 3


# ---- SciPy


@pytest.mark.slow
def test_scipy_spreads_an_optimization_over_it(executor, optimize):
    arguments = {"bounds": [(-2, 2), (-2, 2)], "seed": 1, "maxiter": 15, "updating": "deferred", "polish": False}

    spread = optimize.differential_evolution(lambda x: float((x**2).sum()), workers=executor.map, **arguments)

    alone = optimize.differential_evolution(lambda x: float((x**2).sum()), **arguments)
    assert spread.fun == alone.fun < 0.1
