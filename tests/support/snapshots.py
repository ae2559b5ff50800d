# SPDX-License-Identifier: MIT
"""Fixed Snapshots: an idle queue, a busy one, a broken one, one of many workers, one whose names and lines are hostile.

Used by the tests of what is shown. Nothing in here was read from a queue.
"""

from __future__ import annotations

from typing import Any

import msgspec

from localq.monitor.history import Condition, History, Watched
from localq.monitor.snapshot import (
    ArenaReading,
    CachedResults,
    ClientReading,
    Depths,
    Event,
    FunctionReading,
    QueueFacts,
    Rates,
    Restarts,
    RunningTask,
    Snapshot,
    Spread,
    Totals,
    WorkerReading,
)
from localq.monitor.view import Scene, View

NOW = 1_800_000_000.0


def facts(**changes: Any) -> QueueFacts:
    known: dict[str, Any] = {
        "name": "thumbnails",
        "owner_pid": 3783,
        "owner": "anna",
        "command": "python batch.py --all",
        "supervisor_pid": 3785,
        "started_at": NOW - 11_520,
        "uptime": 11_520.0,
        "python": "3.11.7",
        "version": "0.1",
        "phase": "open",
        "workers": 4,
        "queues": ("default",),
    }
    return QueueFacts(**{**known, **changes})


def worker(pid: int, **changes: Any) -> WorkerReading:
    known: dict[str, Any] = {
        "pid": pid,
        "state": "idle",
        "age": 11_500.0,
        "cpu": 0.0,
        "memory": 31_000_000,
        "task_id": None,
        "function": None,
        "task_seconds": None,
        "tasks_in_hand": 0,
        "done": 0,
        "failed": 0,
        "retried": 0,
        "busy": 0.0,
        "pinned": 0,
    }
    return WorkerReading(**{**known, **changes})


def running_worker(pid: int, function: str, seconds: float, **changes: Any) -> WorkerReading:
    known: dict[str, Any] = {
        "state": "running",
        "task_id": f"1a2b3c4d-{pid - 4000}-7",
        "function": function,
        "task_seconds": seconds,
        "tasks_in_hand": 1,
        "cpu": 97.0,
        "busy": 0.98,
        "done": 12_345,
    }
    return worker(pid, **{**known, **changes})


def running_task(pid: int, function: str, seconds: float, **changes: Any) -> RunningTask:
    known: dict[str, Any] = {
        "task_id": f"1a2b3c4d-{pid - 4000}-7",
        "function": function,
        "worker_pid": pid,
        "seconds": seconds,
        "waited": 0.0021,
        "attempt": 1,
        "queue": "default",
        "priority": "normal",
        "progress": None,
        "message": None,
        "limit": None,
        "items": None,
    }
    return RunningTask(**{**known, **changes})


def function(name: str, **changes: Any) -> FunctionReading:
    known: dict[str, Any] = {
        "name": name,
        "done": 50_000,
        "failed": 0,
        "retried": 0,
        "items": 0,
        "per_second": 410.0,
        "run": Spread(count=410, mean=0.004, p50=0.0031, p95=0.012, p99=0.047, most=1.2),
        "run_seconds": 200.0,
    }
    return FunctionReading(**{**known, **changes})


def event(kind: str, text: str, ago: float = 3.0, **changes: Any) -> Event:
    known: dict[str, Any] = {"at": NOW - ago, "pid": 4001, "task_id": "1a2b3c4d-5-2", "function": "photos.resize"}
    return Event(**{**known, **changes}, kind=kind, text=text)


def snapshot(**changes: Any) -> Snapshot:
    """A queue that has nothing to do and never had."""
    known: dict[str, Any] = {
        "taken_at": NOW,
        "queue": facts(),
        "capacity": 65_536,
        "queued": 0,
        "delayed": 0,
        "running": 0,
        "depths": (Depths(queue="default"),),
        "rates": Rates(seconds=1.0, done=0.0, failed=0.0, retried=0.0, items=0.0, bytes_in=0.0, bytes_out=0.0),
        "totals": Totals(),
        "wait": Spread(),
        "run": Spread(),
        "workers": tuple(worker(pid) for pid in range(4001, 4005)),
        "functions": (),
        "slowest": (),
        "failures": (),
        "log": (),
        "restarts": Restarts(supervisors_started=1, workers_started=4),
        "results": CachedResults(kept=0, unread=0, room=10_000, ttl=3600.0),
        "arena": ArenaReading(size=512 << 20),
        "clients": (ClientReading(pid=3783, is_owner=True, unread=0, pinned=0),),
    }
    return Snapshot(**{**known, **changes})


IDLE = snapshot()

BUSY = snapshot(
    queue=facts(queues=("default", "mail")),
    queued=1_432,
    delayed=12,
    running=3,
    depths=(Depths(queue="default", critical=2, high=30, normal=1_100, low=250), Depths(queue="mail", normal=50)),
    rates=Rates(seconds=1.0, done=1_234.0, failed=2.0, retried=1.0, items=1_234.0, bytes_in=9e6, bytes_out=2e6),
    totals=Totals(done=1_204_331, failed=12, retried=3, cancelled=1, bytes_in=3 << 30, bytes_out=1 << 30),
    wait=Spread(count=1234, mean=0.0002, p50=0.00004, p95=0.0012, p99=0.004, most=0.01),
    run=Spread(count=1234, mean=0.004, p50=0.0031, p95=0.012, p99=0.047, most=1.2),
    workers=(
        running_worker(4001, "photos.resize", 0.8),
        running_worker(4002, "photos.train_faces", 132.0, cpu=99.0, memory=1_400_000_000, failed=2),
        running_worker(4003, "mail.send", 0.002, cpu=12.0),
        worker(4004, done=11_000),
    ),
    functions=(
        function(
            "photos.train_faces",
            done=14,
            per_second=0.03,
            run_seconds=1900.0,
            run=Spread(count=1, p50=121.0, p95=140.0, p99=140.0, most=171.0),
        ),
        function("photos.resize", failed=9, retried=3),
        function("mail.send", failed=3, per_second=824.0, run_seconds=41.0),
    ),
    slowest=(
        running_task(
            4002, "photos.train_faces", 132.0, progress=0.42, message="epoch 4 of 10, loss 0.031", limit=600.0
        ),
        running_task(4001, "photos.resize", 0.8, attempt=2),
        running_task(4003, "mail.send", 0.002, queue="mail", priority="high"),
    ),
    failures=(
        event("failure", "UnidentifiedImageError: cannot identify image file 'holiday-0192.jpg'", 4.0),
        event("timeout", "took longer than 30 s", 75.0, function="mail.send"),
        event("crash", "worker 3990 was killed by SIGSEGV", 340.0, pid=3990),
    ),
    log=(event("log", "skipping holiday-0191.jpg: no such file", 1.0), event("log", "cache is warm", 60.0)),
    restarts=Restarts(
        supervisors_started=1,
        workers_started=5,
        workers_crashed=1,
        causes=(
            event("restart", "worker 3990 died of SIGSEGV; 4004 is in its place", 340.0, task_id=None, function=None),
        ),
    ),
    results=CachedResults(kept=99, unread=3, room=10_000, ttl=3600.0),
    arena=ArenaReading(size=512 << 20, arguments=12 << 20, results=3 << 20),
)

BROKEN = msgspec.structs.replace(
    BUSY,
    queue=facts(phase="broken", supervisor_pid=None),
    workers=(
        worker(4001, state="dead"),
        worker(4002, state="stopped", cpu=None, memory=None),
        worker(4003, state="starting"),
    ),
    problems=(
        "The supervisor is gone and nobody has started another.",
        "Worker 4002 was stopped by a signal; its task waits. `kill -CONT 4002` lets it go on.",
        "65,536 of 65,536 tasks are on their way: whoever submits waits.",
        "Client 3783 has not picked up 40,000 results.",
    ),
)

ONE_WORKER = snapshot(queue=facts(workers=1), workers=(running_worker(4001, "photos.resize", 3.2),), running=1)

MANY_WORKERS = snapshot(
    queue=facts(workers=128),
    running=96,
    workers=tuple(
        running_worker(5000 + number, f"photos.resize_{number % 5}", 0.4 * (number * 37 % 128))
        if number % 4
        else worker(5000 + number)
        for number in range(128)
    ),
    slowest=tuple(running_task(5000 + number, "photos.resize", 9.0 - number / 10) for number in range(1, 20)),
)

_HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 bell\x07 back\x08 tab\there\r\nnext \x9b2J csi"
    " \u202eevil\u202c zero\u200bwidth"
)
_LONG = "package.subpackage.module.submodule.Class.method.<locals>.inner_function_with_a_long_name" * 3
HOSTILE = snapshot(
    queue=facts(name="größe", command="python \x1b[2J\x1b[H.py", queues=("日本語キュー", "d")),
    depths=(Depths(queue="日本語キュー", normal=3), Depths(queue="\x1b[7m", low=1)),
    queued=4,
    running=2,
    workers=(
        running_worker(4001, "写真モジュール:とても長い名前の関数を呼び出す処理その二", 4.0),
        running_worker(4002, f"mod:{_HOSTILE}", 3.0),
        running_worker(4003, _LONG, 2.0),
    ),
    functions=(function("🎉:party_🎉_👨‍👩‍👧_🇩🇪_👍🏽"), function("写真" * 40), function(_HOSTILE)),
    slowest=(
        running_task(4001, "写真モジュール:とても長い名前の関数", 4.0, progress=0.5, message="🎉" * 60),
        running_task(4002, _HOSTILE, 3.0, progress=1.0, message=_HOSTILE),
    ),
    failures=(event("failure", f"ValueError: {_HOSTILE}" * 5), event("failure", "e\u0301" * 100)),
    log=(event("log", _HOSTILE), event("log", "\x00\x01\x02\x7f\x85"), event("log", "日本語のログ" * 30)),
    problems=(_HOSTILE,),
)

_MUCH = 18_446_744_073_709_551_615
HUGE = snapshot(
    queue=facts(uptime=1e9, owner_pid=4_194_304, supervisor_pid=4_194_303, workers=4096),
    capacity=_MUCH,
    queued=_MUCH,
    delayed=_MUCH,
    running=_MUCH,
    depths=(Depths(queue="q" * 200, critical=_MUCH, high=_MUCH, normal=_MUCH, low=_MUCH),),
    rates=Rates(seconds=1e-9, done=1e18, failed=1e18, retried=1e18, items=1e20, bytes_in=1e20, bytes_out=1e20),
    totals=Totals(done=_MUCH, failed=_MUCH, retried=_MUCH, cancelled=_MUCH, bytes_in=_MUCH, bytes_out=_MUCH),
    wait=Spread(count=_MUCH, mean=1e12, p50=1e12, p95=1e12, p99=1e12, most=1e12),
    run=Spread(count=_MUCH, mean=1e12, p50=1e12, p95=1e12, p99=1e12, most=1e12),
    workers=(
        running_worker(4_194_304, "f", 1e12, cpu=1e6, memory=_MUCH, done=_MUCH, failed=_MUCH, age=1e12, busy=7.0),
    ),
    functions=(function("f", done=_MUCH, failed=_MUCH, retried=_MUCH, items=_MUCH, per_second=1e20, run_seconds=1e20),),
    slowest=(running_task(4_194_304, "f", 1e12, waited=1e12, progress=9.9, attempt=65_535, limit=1.0, items=_MUCH),),
    restarts=Restarts(workers_crashed=_MUCH, supervisors_started=_MUCH, lines_lost=_MUCH),
    results=CachedResults(kept=_MUCH, unread=_MUCH, room=_MUCH, ttl=None),
    arena=ArenaReading(size=_MUCH, arguments=_MUCH),
)

EMPTY = snapshot(queue=facts(name="e", workers=0, command="", queues=()), depths=(), workers=(), clients=())

ALL = {
    "idle": IDLE,
    "busy": BUSY,
    "broken": BROKEN,
    "one worker": ONE_WORKER,
    "many workers": MANY_WORKERS,
    "hostile": HOSTILE,
    "huge": HUGE,
    "empty": EMPTY,
}


def watched(latest: Snapshot = BUSY, readings: int = 40) -> Watched:
    """A queue that was read that often, with rates that rise and fall."""
    rising = [
        msgspec.structs.replace(
            latest,
            taken_at=latest.taken_at - (readings - number),
            rates=msgspec.structs.replace(latest.rates, done=latest.rates.done * (number * 7 % 13) / 13),
        )
        for number in range(1, readings)
    ]
    return Watched(latest.queue.name, Condition.READ, NOW - 60, History.of([*rising, latest]))


def scene(latest: Snapshot = BUSY, view: View | None = None, readings: int = 40) -> Scene:
    """What one looks at, of one queue."""
    return Scene((watched(latest, readings),), view or View(), NOW)
