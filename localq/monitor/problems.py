# SPDX-License-Identifier: MIT
"""What is wrong with a queue just now, in sentences, the worst first.

Used for every Snapshot. Pure, and cheap: it says what a glance at the figures would tell somebody who knows them all.
What takes several looks and every word of the memory is for `localq doctor` (`localq.monitor.diagnosis`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localq.monitor.snapshot import Snapshot

__all__ = ["problems_of"]

NEARLY_FULL = 0.9  # of the capacity, or of the arena
STOPS_AFTER = 1.0  # seconds over its limit until a task is told of: it is asked to stop first, and most do
MANY_UNREAD = 0.25  # of the capacity, not picked up by one client
CRASHES = 3  # workers between two readings (or since the queue began): more than one bad task explains
LONG_WAIT = 10.0  # seconds of work that wait, at the present rate
SEVERAL = 10  # tasks, of which so many have failed: of fewer it says little
WAITS_BEYOND = 2  # times as many waiting tasks as there are workers: fewer is what keeps them busy


def problems_of(now: Snapshot, before: Snapshot | None) -> tuple[str, ...]:
    """`before`: the last reading of that queue, None for the first: growth can't be seen then."""
    parts = (
        _phase,
        _supervisor,
        _workers,
        _crashes,
        _room,
        _limits,
        _unread,
        _failures,
        _growth,
        _lines,
    )
    return tuple(sentence for part in parts for sentence in part(now, before))


def _phase(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    if now.queue.phase == "broken":
        yield "The queue is broken: its workers could not be started, and nothing will run any more."
    elif now.queue.phase == "draining":
        left = now.queued + now.delayed + now.running
        yield f"The queue is closing: it takes nothing more, and {_count(left, 'task')} {_is(left)} left."


def _supervisor(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    if now.queue.supervisor_pid is None and now.queue.phase != "broken":
        yield "There is no supervisor: dead workers are not replaced until its owner has started another one."
    if now.queue.is_supervisor_stopped:
        yield (
            "The supervisor is stopped by a signal: nobody can attach, and time limits do not hold. `kill -CONT"
            f" {now.queue.supervisor_pid}` lets it go on."
        )


def _workers(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    by_state: dict[str, list[int]] = {}
    for worker in now.workers:
        by_state.setdefault(worker.state, []).append(worker.pid)
    stopped, dead = by_state.get("stopped", []), by_state.get("dead", [])
    if stopped:
        yield (
            f"{_count(len(stopped), 'worker')} {_is(len(stopped))} stopped by a signal ({_pids(stopped)}): what"
            f" {'it has' if len(stopped) == 1 else 'they have'} in hand waits. `kill -CONT` lets"
            f" {'it' if len(stopped) == 1 else 'them'} go on."
        )
    if dead and now.queue.supervisor_pid is None:
        yield f"{_count(len(dead), 'worker')} ended and {'was' if len(dead) == 1 else 'were'} not replaced."
    living = len(now.workers) - len(dead)
    if not living and now.queue.phase == "open" and now.queued:
        yield f"No worker is there, and {_count(now.queued, 'task')} {'waits' if now.queued == 1 else 'wait'}."


def _crashes(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    crashed = now.restarts.workers_crashed - (before.restarts.workers_crashed if before else 0)
    if crashed >= CRASHES:
        deaths = [event for event in now.restarts.causes if event.text.startswith("worker ")]
        cause = f" The last: {_sentence(deaths[0].text)}" if deaths else ""
        yield f"{_count(crashed, 'worker')} died within {_time(now.rates.seconds)}.{cause}"


def _room(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    on_their_way = now.queued + now.delayed + now.running + now.results.unread
    if on_their_way >= NEARLY_FULL * now.capacity:
        yield (
            f"The queue is nearly full: {on_their_way:,} of {now.capacity:,} tasks are on their way. Who submits more"
            " has to wait."
        )
    parts = _held(now)
    held, largest = sum(parts.values()), max(parts, key=lambda name: parts[name])
    if now.arena.size and held >= NEARLY_FULL * now.arena.size:
        yield (
            f"The memory for large data is nearly full: {_size(held)} of {_size(now.arena.size)}, most of it"
            f" {largest} ({_size(parts[largest])})."
        )


def _held(now: Snapshot) -> dict[str, int]:
    """What does not give way. Results that were picked up do, when room is short, and so does what processes keep at
    hand; of results it is only known how many of them are still to be picked up."""
    arena, results = now.arena, now.results
    unread = results.unread / (results.unread + results.kept) if results.unread else 0.0
    return {
        "arguments": arena.arguments,
        "results that were not picked up": int(arena.results * unread),
        "functions": arena.functions,
        "kept values": arena.kept,
        "what somebody looks at": arena.pinned,
    }


def _limits(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    over = [task for task in now.slowest if task.limit is not None and task.seconds > task.limit + STOPS_AFTER]
    if over:
        task = over[0]
        more = "" if len(over) == 1 else f", and {_count(len(over) - 1, 'other')}"
        yield (
            f"Task {task.task_id} ({task.function}) has run {_time(task.seconds)} with a limit of"
            f" {_time(task.limit or 0.0)}{more}: it does not stop when it is asked to."
        )


def _unread(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    for client in now.clients:
        if client.unread >= MANY_UNREAD * now.capacity:
            who = "The owner" if client.is_owner else "A client"
            yield (
                f"{who} (pid {client.pid}) has not picked up {client.unread:,} finished tasks: each keeps its place in"
                " the queue until its client waits for something."
            )


def _failures(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    done, failed = now.rates.done, now.rates.failed
    if failed >= done and (failed + done) * now.rates.seconds >= SEVERAL:
        share = failed / (failed + done)
        last = next((f" The last: {_sentence(event.text)}" for event in now.failures), "")
        yield f"{share:.0%} of the tasks of the last {_time(now.rates.seconds)} failed.{last}"


def _growth(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    working = [worker for worker in now.workers if worker.state != "dead"]
    is_busy = working and all(worker.state in ("running", "stopped") for worker in working)
    if before is None or not is_busy or now.queued <= max(before.queued, WAITS_BEYOND * len(working)):
        return
    rate = now.rates.done + now.rates.failed
    if not rate:
        yield (
            f"All {len(working)} workers are busy, {now.queued:,} tasks wait, and none was finished in the last"
            f" {_time(now.rates.seconds)}."
        )
    elif now.queued / rate >= LONG_WAIT:
        yield (
            f"All {len(working)} workers are busy, and more comes than goes: {now.queued:,} tasks wait, some"
            f" {_time(now.queued / rate)} of work at this rate."
        )


def _lines(now: Snapshot, before: Snapshot | None) -> Iterator[str]:
    lost = now.restarts.lines_lost - (before.restarts.lines_lost if before else 0)
    if lost > 0:
        were = "was" if lost == 1 else "were"
        yield f"{_count(lost, 'line')} that tasks wrote {were} lost: their owner does not read."


# --- words ----------------------------------------------------------------------------------------------------------


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _sentence(text: str) -> str:
    """What somebody else wrote, on one line, at the end of a sentence of ours."""
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _pids(pids: list[int]) -> str:
    shown = ", ".join(map(str, pids[:3]))
    return f"pid {shown}{' ...' if len(pids) > 3 else ''}"


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{seconds * 1000:.0f} ms"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
