# SPDX-License-Identifier: MIT
"""Run Python functions in parallel on one machine: no broker, nothing to configure.

    from localq import LocalQueue

    with LocalQueue() as q:
        future = q.delay(pow, 2, 10)
        print(future.result(), list(q.map(abs, range(-3, 3))))

Names are imported when they are first used, so that `import localq` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.client.executor import LocalExecutor as LocalExecutor
    from localq.client.future import TaskFuture as TaskFuture
    from localq.client.queue import LocalQueue as LocalQueue
    from localq.errors import AttachError as AttachError
    from localq.errors import ConfigError as ConfigError
    from localq.errors import FunctionNotFound as FunctionNotFound
    from localq.errors import InitializerFailed as InitializerFailed
    from localq.errors import LayoutMismatch as LayoutMismatch
    from localq.errors import LocalqError as LocalqError
    from localq.errors import QueueClosed as QueueClosed
    from localq.errors import QueueFull as QueueFull
    from localq.errors import RemoteTraceback as RemoteTraceback
    from localq.errors import ResultGone as ResultGone
    from localq.errors import SerializationError as SerializationError
    from localq.errors import SharedRefLost as SharedRefLost
    from localq.errors import SpaceCorrupt as SpaceCorrupt
    from localq.errors import SpaceError as SpaceError
    from localq.errors import SupervisorLost as SupervisorLost
    from localq.errors import TaskCancelled as TaskCancelled
    from localq.errors import TaskError as TaskError
    from localq.errors import TaskExpired as TaskExpired
    from localq.errors import TaskFailed as TaskFailed
    from localq.errors import TaskTimeout as TaskTimeout
    from localq.errors import WorkerCrashed as WorkerCrashed
    from localq.errors import WorkersEnded as WorkersEnded
    from localq.model import Priority as Priority
    from localq.model import TaskResult as TaskResult
    from localq.model import TaskStatus as TaskStatus
    from localq.model import TaskUpdate as TaskUpdate
    from localq.monitor.snapshot import Snapshot as Snapshot
    from localq.pool.context import TaskContext as TaskContext
    from localq.pool.context import current_task as current_task
    from localq.shared import SharedRef as SharedRef
    from localq.tasks import Task as Task
    from localq.tasks import task as task

__version__ = "0.1.0"

__all__ = [
    "AttachError",
    "ConfigError",
    "FunctionNotFound",
    "InitializerFailed",
    "LayoutMismatch",
    "LocalExecutor",
    "LocalQueue",
    "LocalqError",
    "Priority",
    "QueueClosed",
    "QueueFull",
    "RemoteTraceback",
    "ResultGone",
    "SerializationError",
    "SharedRef",
    "SharedRefLost",
    "Snapshot",
    "SpaceCorrupt",
    "SpaceError",
    "SupervisorLost",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskFuture",
    "TaskResult",
    "TaskStatus",
    "TaskTimeout",
    "TaskUpdate",
    "WorkerCrashed",
    "WorkersEnded",
    "current_task",
    "task",
]

_HOMES = {
    "LocalExecutor": "localq.client.executor",
    "LocalQueue": "localq.client.queue",
    "Priority": "localq.model",
    "SharedRef": "localq.shared",
    "Snapshot": "localq.monitor.snapshot",
    "Task": "localq.tasks",
    "TaskContext": "localq.pool.context",
    "TaskFuture": "localq.client.future",
    "TaskResult": "localq.model",
    "TaskStatus": "localq.model",
    "TaskUpdate": "localq.model",
    "current_task": "localq.pool.context",
    "task": "localq.tasks",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'localq' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "localq.errors")), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
