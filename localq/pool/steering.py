# SPDX-License-Identifier: MIT
"""What a supervisor does when somebody asks for it: tell, drain, kill, and have more workers for a while.

Used by the supervisor, which makes one when the first asks. How requests come is in `localq.pool.requests`; how all
workers are replaced in `localq.pool.reload`.
"""

from __future__ import annotations

import os

from localq import _native
from localq._native import PHASE_BROKEN, PHASE_DRAINING, PHASE_OPEN, PHASE_STOPPED, RUNNING
from localq.config import MAX_WORKERS
from localq.pool.processes import is_stopped
from localq.pool.requests import Asker, Refused, Requests
from localq.pool.stacks import StackWanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from localq.pool.supervisor import Child, Supervisor

__all__ = ["Steering"]

PHASES = {PHASE_OPEN: "open", PHASE_DRAINING: "draining", PHASE_STOPPED: "stopped", PHASE_BROKEN: "broken"}
MOST_COROUTINES = 200  # that are told of
LONGEST_COMMAND = 4096  # bytes


class Steering:
    """The requests of visitors, and what is done about them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        do: dict[str, Callable[..., dict[str, Any] | None]] = {
            "stack": self._stack,
            "drain": self._drain,
            "kill": self._kill,
            "tasks": self._tasks,
            "reload": self._reload,
            "workers": self._lease,
            "facts": self._facts,
        }
        self._requests = Requests(supervisor.poll, do, self._end_lease)
        self._stacks: dict[Child, tuple[StackWanted, list[Asker]]] = {}
        self._want_tasks: list[Asker] = []
        self._want_reload: list[Asker] = []
        self._want_next_reload: list[Asker] = []
        self._leased = 0

    def take(self, socket: _socket.socket, pid: int, said: bytes) -> None:
        """A visitor has asked."""
        self._requests.take(socket, pid, said)

    def handle(self, fd: int) -> bool:
        """An event at that descriptor. False when it is none of ours."""
        return self._requests.handle(fd)

    def until_next_timer(self) -> float | None:
        return min((wanted.until_next_timer() for wanted, _ in self._stacks.values()), default=None)

    def keep_time(self) -> None:
        for worker, (wanted, askers) in list(self._stacks.items()):
            wanted.keep_time()
            if wanted.is_over:
                del self._stacks[worker]
                for asker in askers:
                    self._answer_stack(asker, wanted)

    def hear(self, worker: Child) -> None:
        """A worker has said something."""
        if worker in self._stacks:
            self._stacks[worker][0].hear()
        if worker.story.tasks is not None:
            self._answer_all(self._want_tasks, self._told_tasks())

    def bury(self, worker: Child) -> None:
        """A worker has ended."""
        if worker in self._stacks:
            self._stacks[worker][0].end()
            self.keep_time()

    def give_up(self, why: str) -> None:
        """No worker can be started."""
        for askers in (self._want_tasks, self._want_reload, self._want_next_reload):
            for asker in askers:
                if self._requests.is_here(asker):
                    self._requests.refuse(asker, why)
            askers.clear()

    def reloaded(self, workers: int, why_not: str | None) -> None:
        """So many old workers take no task any more; or none will be replaced."""
        if why_not is not None:
            for asker in self._want_reload:
                if self._requests.is_here(asker):
                    self._requests.refuse(asker, why_not)
            self._want_reload.clear()
        self._answer_all(self._want_reload, {"workers": workers})
        self._want_reload, self._want_next_reload = self._want_next_reload, []

    def close(self) -> None:
        """For a worker: see `Requests.close`."""
        self._requests.close()

    # each as `Requests` calls it

    def _stack(self, asker: Asker, pid: int) -> None:
        worker = self._worker(pid)
        if not self._supervisor.is_ready(worker.label):
            raise Refused(f"worker {pid} is only starting")
        if worker not in self._stacks:
            worker.story.read()
            self._stacks[worker] = StackWanted(pid, worker.pidfd, worker.story), []
        self._stacks[worker][1].append(asker)
        self.keep_time()

    def _answer_stack(self, asker: Asker, wanted: StackWanted) -> None:
        if not self._requests.is_here(asker):
            return
        if wanted.why_not is not None:
            self._requests.refuse(asker, wanted.why_not)
        else:
            self._requests.answer(asker, {"stack": f"{wanted.text}{self._coroutines_of(wanted.pid)}"})

    def _coroutines_of(self, pid: int) -> str:
        """The stack shows one task; these are all that such a worker has on their way."""
        if self._supervisor.brief.concurrency == 1:
            return ""
        space, now = self._supervisor.space, _native.now_ns()
        lines = [
            f"  {each['function'] or '?'} ({space.task_id(each['slot'], each['task_generation'])})"
            f" for {max(0, now - each['start_ns']) / 1e9:.1f} s"
            for each in space.running()[:MOST_COROUTINES]
            if each["pid"] == pid
        ]
        return "\n\nTasks in hand:\n" + "\n".join(lines) if lines else ""

    def _drain(self, asker: Asker, pid: int) -> dict[str, Any]:
        worker = self._worker(pid)
        if is_stopped(pid):
            raise Refused(f"worker {pid} was stopped by a signal, and hears nothing; `kill -CONT {pid}` continues it")
        self._supervisor.drain_worker(worker)
        return {}

    def _kill(self, asker: Asker, task_id: str) -> dict[str, Any]:
        space = self._supervisor.space
        place = _place_of(task_id)
        if place is None or space.task_id(*place) != task_id:
            raise Refused(f"{task_id[:60]!r} is no task of this queue")
        found = space.read(*place)
        if found is None or found.state != RUNNING or not space.stop(*place):
            return {"killed": False}
        for worker in self._supervisor.children.values():
            if worker.pid == found.worker_pid and space.condemn(*place, worker.label):
                self._supervisor.condemn(worker)
                return {"killed": True}
        return {"killed": False}

    def _tasks(self, asker: Asker) -> dict[str, Any] | None:
        supervisor = self._supervisor
        if supervisor.space.phase == PHASE_BROKEN:
            raise Refused("its workers could not be started; its owner knows why")
        if supervisor.tasks is None and supervisor.tells_tasks():
            self._want_tasks.append(asker)  # the first workers are only starting
            return None
        return self._told_tasks()

    def _told_tasks(self) -> dict[str, Any]:
        """Copies: what others hold as well can't be encoded exactly."""
        return {"tasks": [dict(task) for task in self._supervisor.tasks or []]}

    def _reload(self, asker: Asker) -> None:
        if self._supervisor.space.phase != PHASE_OPEN:
            raise Refused(f"it is {PHASES.get(self._supervisor.space.phase, 'ending')}: no worker is started any more")
        wanted = self._want_reload if self._supervisor.is_reload_due else self._want_next_reload
        wanted.append(asker)
        self._supervisor.begin_reload()

    def _lease(self, asker: Asker, count: int) -> dict[str, Any]:
        supervisor = self._supervisor
        if supervisor.space.phase != PHASE_OPEN:
            raise Refused(f"it is {PHASES.get(supervisor.space.phase, 'ending')}: no worker is started any more")
        room = min(MAX_WORKERS - supervisor.workers, supervisor.visitors.room)
        if not 1 <= count <= room:
            raise Refused(
                f"it has {supervisor.workers} workers and room for {max(room, 0)} more (rows are for clients, too),"
                f" not for {count}"
            )
        self._requests.keep(asker)
        asker.lease = count
        self._leased += count
        supervisor.set_leased(self._leased)
        return {"workers": supervisor.workers, "queue": f"{supervisor.space.identity:016x}"}

    def _end_lease(self, asker: Asker) -> None:
        self._leased -= asker.lease
        asker.lease = 0
        self._supervisor.set_leased(self._leased)

    def _facts(self, asker: Asker) -> dict[str, Any]:
        supervisor, brief = self._supervisor, self._supervisor.brief
        rows = [supervisor.space.row(worker.label & 0xFFF) for worker in supervisor.children.values()]
        slots = supervisor.space.slots()
        return {
            "name": brief.name,
            "owner_pid": brief.owner_pid,
            "supervisor_pid": os.getpid(),
            "command": _command_of(brief.owner_pid),
            "started_at": brief.began,
            "uptime": brief.uptime,
            "phase": PHASES.get(supervisor.space.phase, "ending"),
            "workers": supervisor.workers,
            "leased": self._leased,
            "workers_alive": sum(row is not None and row["ready"] for row in rows),
            "workers_busy": sum(map(supervisor.is_busy, supervisor.children.values())),
            "queued": dict(zip(brief.queues, map(sum, supervisor.space.depths()), strict=False)),
            "delayed": slots["delayed"],
            "running": slots["claimed"] + slots["running"],
            "task_modules": list(brief.task_modules),
        }

    def _worker(self, pid: int) -> Child:
        for worker in self._supervisor.children.values():
            if worker.pid == pid:
                return worker
        raise Refused(f"it has no worker with process id {pid}")

    def _answer_all(self, askers: list[Asker], answer: dict[str, Any]) -> None:
        for asker in askers:
            if self._requests.is_here(asker):
                self._requests.answer(asker, answer)
        askers.clear()


def _place_of(task_id: str) -> tuple[int, int] | None:
    """(slot, generation), if it is written as ids are."""
    try:
        _, slot, generation = task_id.split("-")
        place = int(slot, 16), int(generation, 16)
    except ValueError:
        return None
    return place if 0 <= place[0] < 1 << 32 and 0 <= place[1] < 1 << 32 else None


def _command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read(LONGEST_COMMAND).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
