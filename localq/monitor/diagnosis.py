# SPDX-License-Identifier: MIT
"""What several looks into a running queue mean: findings, each with what is to be done.

Used by `localq doctor`. Pure: it is handed looks and returns findings; it reads no memory, no clock and no process. A
queue is never quiet, so one look proves nothing: a process may be just about to do what is missing. Only what every
look has found, of the same word or the same process, is said; and what a stopped process owes is said of that process.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from localq._native import PHASE_BROKEN, PHASE_OPEN
from localq.monitor.looks import Condition, Contradiction, Look, ProcessSeen, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["LONG_TASK_SECONDS", "Finding", "Severity", "Sizes", "diagnose", "is_healthy"]

LONG_TASK_SECONDS = (
    60.0  # nothing is wrong with a task that runs longer; but when somebody wonders, it is the first to know
)
NEARLY_FULL = 0.9
ROWS = 255  # processes that one queue has room for
SHOWN = 5  # places named in a sentence; `facts` has them all


class Severity(StrEnum):
    """How bad it is. Only errors make a queue unhealthy."""

    ERROR = "error"  # tasks or memory are lost, or will be, or nobody works
    WARNING = "warning"  # it goes on, but somebody should look
    INFO = "info"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found. `code` is for programs and stays; the sentences are for people."""

    severity: Severity
    code: str
    what: str  # what, where, and why it matters
    advice: str  # what to do next
    facts: dict[str, Any] = {}


class Sizes(msgspec.Struct, frozen=True):
    """What the queue was made with."""

    capacity: int
    memory: int


def is_healthy(findings: Sequence[Finding]) -> bool:
    return not any(finding.severity is Severity.ERROR for finding in findings)


def diagnose(looks: Sequence[Look], sizes: Sizes, long_task_seconds: float = LONG_TASK_SECONDS) -> list[Finding]:
    """What all of `looks` (one or more, in the order of time) agree upon; the worst first."""
    last = looks[-1]
    findings = [*_contradictions(looks), *_supervisor(looks), *_unburied(looks), *_stopped(looks)]
    if last.phase == PHASE_BROKEN:
        findings.append(_BROKEN)
    elif last.phase == PHASE_OPEN:
        findings += [*_missing_workers(looks), *_stuck(looks)]
    else:
        findings.append(_ENDING)
    findings += [*_long_tasks(looks, long_task_seconds), *_nearly_full(looks, sizes), *_history(last)]
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


_BROKEN = Finding(
    Severity.ERROR,
    "workers_do_not_start",
    "No worker can be started, so no task will ever run; calls that wait have failed with InitializerFailed.",
    "Read the owner's stderr or the error that it got: it has the traceback of the initializer.",
)
_ENDING = Finding(
    Severity.INFO,
    "ending",
    "The queue is being closed: what is queued still runs, and nothing more is taken.",
    "Nothing, unless it lasts: then look at the tasks that still run.",
)


# --- what holds in all looks ----------------------------------------------------------------------------------------


def _lasting(looks: Sequence[Look], test: Callable[[ProcessSeen], bool]) -> list[ProcessSeen]:
    """The processes, as seen last, of which `test` held each time."""
    always = set.intersection(*({each.label for each in look.processes if test(each)} for look in looks))
    return [each for each in looks[-1].processes if each.label in always]


def _is_same(looks: Sequence[Look], what: Callable[[Look], object]) -> bool:
    return all(what(look) == what(looks[-1]) for look in looks)


# --- words ----------------------------------------------------------------------------------------------------------


class _Kind(msgspec.Struct, frozen=True):
    severity: Severity
    code: str
    what: str  # {places}: where
    advice: str


_REPORT = "Please report this with the output of `localq doctor --json`"
_REOPEN = f"Close the queue and open it anew, which makes new memory. {_REPORT}."

_DAMAGED = _Kind(
    Severity.ERROR,
    "damaged",
    "Words of the shared memory hold what no version of localq writes: {places}. Something has written over them, and"
    " tasks there may be lost.",
    "Look for native code in the tasks or clients that writes out of bounds; then close the queue and open it anew."
    f" {_REPORT}.",
)
_LEAK = _Kind(
    Severity.ERROR,
    "leak",
    "Memory of the queue that nobody will ever give back: {places}. It gets smaller for everybody else.",
    _REOPEN,
)
_TASK_LOST = _Kind(
    Severity.ERROR,
    "task_lost",
    "Queued tasks that no worker can find, because no ring has them: {places}. They will never run, and who waits for"
    " them waits in vain.",
    f"Cancel and submit them again. {_REPORT}.",
)
_ARGUMENTS_LOST = _Kind(
    Severity.ERROR,
    "arguments_lost",
    "Queued tasks whose arguments are gone: {places}. They will fail, or run with what is not theirs.",
    f"Cancel and submit them again. {_REPORT}.",
)
_RESULT_LOST = _Kind(
    Severity.ERROR,
    "result_lost",
    "Finished tasks of which their client was never told: {places}. It waits in vain.",
    f"Ask for them by task id (get_task_result). {_REPORT}.",
)
_BEING_READ = _Kind(
    Severity.WARNING,
    "result_being_read",
    "A client has picked up a result and not finished with it all this time: {places}. It reads a very large one, or it"
    " is stuck, or it was never told.",
    "Look again in a while; if it is still the same one, look what that client is doing (py-spy dump --pid).",
)
_HALF_WAY = _Kind(
    Severity.WARNING,
    "stopped_half_way",
    "A process was stopped in the middle of handing over a task: {places}. Nobody else can do that while it lives.",
    "Continue it (kill -CONT), or kill it: then it is done for it.",
)
_WAITS = _Kind(
    Severity.WARNING,
    "recovery_unfinished",
    "What dead processes left is not all taken over yet: {places}.",
    "Look again in a while: the supervisor goes on when a ring has room, at the latest every 30 seconds.",
)


def _contradictions(looks: Sequence[Look]) -> Iterator[Finding]:
    lasting = frozenset.intersection(*(look.contradictions for look in looks))
    found: dict[_Kind, list[Contradiction]] = {}
    for each in sorted(lasting, key=lambda each: (each.what, each.index)):
        found.setdefault(_kind_of(each, looks, lasting), []).append(each)
    for kind, those in found.items():
        yield Finding(
            kind.severity,
            kind.code,
            kind.what.format(places=_list(map(_place_of, those))),
            kind.advice,
            {"words": [{"what": each.what, "index": each.index, "word": f"{each.word:016x}"} for each in those]},
        )


def _kind_of(each: Contradiction, looks: Sequence[Look], lasting: frozenset[Contradiction]) -> _Kind:
    if each.what.startswith("a dead process still owns"):
        return _WAITS if each.who in _unreleased(looks) else _LEAK
    if each.what.startswith("nobody holds"):
        return _LEAK
    if each.what.startswith("a queued task lost"):
        return _ARGUMENTS_LOST
    if each.what.startswith("a queued task is in no ring"):
        return _HALF_WAY if each.who in _stopped_labels(looks) else _TASK_LOST
    if each.what.startswith("a finished task"):
        if {each.who, _label_in(each.word)} & _stopped_labels(looks):
            return _HALF_WAY
        of_that_client = [other for other in lasting if other.what == each.what and other.who == each.who]
        return _BEING_READ if len(of_that_client) == 1 else _RESULT_LOST
    return _DAMAGED


def _label_in(word: int) -> int:
    return word >> 8 & 0xFFFFFF  # see native/lq_word.h


def _stopped_labels(looks: Sequence[Look]) -> set[int]:
    """Of processes that may have been stopped before they could do what they owe."""
    return {each.label for look in looks for each in look.processes if each.condition is Condition.STOPPED}


def _unreleased(looks: Sequence[Look]) -> set[int]:
    """Of dead processes that somebody is still busy with: their rows are not free yet."""
    return {each.label for each in looks[-1].processes}


def _place_of(each: Contradiction) -> str:
    what = each.what.removeprefix("a state that no version writes: ")
    return f"{what} {each.index}" if each.index or each.word else what


def _list(places: Iterator[str] | map[str]) -> str:
    names = list(places)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# --- processes ------------------------------------------------------------------------------------------------------


def _is_up(process: ProcessSeen) -> bool:
    return process.live and process.condition in (Condition.ALIVE, Condition.UNKNOWN)


def _supervisor(looks: Sequence[Look]) -> Iterator[Finding]:
    stopped = _lasting(looks, lambda each: each.role is Role.SUPERVISOR and _is_stopped(each))
    for each in stopped:
        yield supervisor_stopped(each.pid)
    if not stopped and not any(_is_up(each) for look in looks for each in look.of(Role.SUPERVISOR)):
        yield Finding(
            Severity.WARNING,
            "supervisor_missing",
            "The supervisor has ended: workers that die are not replaced until the owner has started another one.",
            "Look again in a moment; if it stays away, look at the owner: it may be stopped.",
        )


def supervisor_stopped(pid: int) -> Finding:
    """Also for a queue that does not answer because of that."""
    return Finding(
        Severity.ERROR,
        "supervisor_stopped",
        f"The supervisor (pid {pid}) is stopped (SIGSTOP or Ctrl-Z): workers go on, but those that die are not"
        " replaced, and nobody can attach.",
        f"Continue it with `kill -CONT {pid}`, or `kill -KILL {pid}`: the owner then starts another one over the same"
        " memory. (--clean leaves it alone: the owner recovers what dead workers held as soon as somebody waits.)",
        {"pid": pid},
    )


def _is_stopped(process: ProcessSeen) -> bool:
    return process.live and process.condition is Condition.STOPPED


def _unburied(looks: Sequence[Look]) -> Iterator[Finding]:
    """Dead, and nobody has noticed: for a supervisor that was there, and ready, all the time, half a second is long."""
    watching = _lasting(looks, lambda each: each.role is Role.SUPERVISOR and each.ready and _is_up(each))
    dead = _lasting(looks, lambda each: each.live and each.condition is Condition.ENDED)
    if watching and dead:
        yield Finding(
            Severity.ERROR,
            "death_unnoticed",
            f"Processes have ended, and the supervisor (pid {watching[0].pid}) has not taken over what they held:"
            f" {_list(map(_person, dead))}. Their tasks neither run nor fail.",
            f"Replace the supervisor: `kill -KILL {watching[0].pid}`; the next one finds them. {_REPORT}.",
            {"pids": [each.pid for each in dead]},
        )
    left = _lasting(looks, lambda each: not each.live)
    if left:
        yield Finding(
            Severity.WARNING,
            "rows_not_released",
            f"{_count(len(left), 'dead process has its row still', 'dead processes have their rows still')}: what they"
            " held is not all taken over yet, because a ring is full or nobody has met them.",
            "Look again in a while: the supervisor tries again, at the latest every 30 seconds.",
            {"rows": [each.label & 0xFFF for each in left]},
        )
    unborn = _lasting(looks, lambda each: each.live and each.pid == 0)
    if unborn:
        yield Finding(
            Severity.WARNING,
            "rows_without_process",
            f"{_count(len(unborn), 'row is', 'rows are')} taken for a process that has not begun all this time.",
            "Look again in a moment: the supervisor gives such rows back, or its successor does.",
            {"rows": [each.label & 0xFFF for each in unborn]},
        )
    if len(looks[-1].processes) > NEARLY_FULL * ROWS:
        yield Finding(
            Severity.WARNING,
            "roster_nearly_full",
            f"{len(looks[-1].processes)} of {ROWS} rows for processes are in use: soon no client can attach.",
            "Detach clients that are done (close), or run fewer workers.",
        )


def _stopped(looks: Sequence[Look]) -> Iterator[Finding]:
    for each in _lasting(looks, lambda each: each.role is Role.WORKER and _is_stopped(each)):
        held = f" with task {each.task_id} in its hands" if each.task_id else ""
        yield Finding(
            Severity.WARNING,
            "worker_stopped",
            f"Worker {each.pid} is stopped (SIGSTOP){held}: that task waits, all others go on.",
            f"Continue it with `kill -CONT {each.pid}`, or kill it: its task then runs again or fails.",
            {"pid": each.pid, "task_id": each.task_id},
        )
    for each in _lasting(looks, lambda each: each.role is Role.CLIENT and _is_stopped(each)):
        unread = (
            f" and has not read {_count(each.unread, 'result', 'results')}, which keep their slots"
            if each.unread
            else ""
        )
        yield Finding(
            Severity.WARNING,
            "client_stopped",
            f"Client {each.pid} is stopped (SIGSTOP){unread}.",
            f"Continue it with `kill -CONT {each.pid}`, or kill it: what it held is then given back.",
            {"pid": each.pid, "unread": each.unread},
        )


def _missing_workers(looks: Sequence[Look]) -> Iterator[Finding]:
    """Fewer than there should be, all the time, and none was started in between."""
    if not _is_same(looks, lambda look: look.tallies.get("workers_started")):
        return
    present = max(sum(_is_up(each) or _is_stopped(each) for each in look.of(Role.WORKER)) for look in looks)
    wanted = looks[-1].workers
    if present < wanted:
        yield Finding(
            Severity.WARNING,
            "workers_missing",
            f"{present} of {_count(wanted, 'worker runs', 'workers run')}, and none was started meanwhile: the others"
            " keep dying and are held back, or the system refuses processes.",
            "Read the owner's stderr: the supervisor says there what it could not do.",
            {"running": present, "wanted": wanted},
        )
    starting = _lasting(looks, lambda each: each.role is Role.WORKER and _is_up(each) and not each.ready)
    if starting:
        yield Finding(
            Severity.INFO,
            "workers_starting",
            f"{_count(len(starting), 'worker is', 'workers are')} still starting:"
            f" {_list(str(each.pid) for each in starting)}.",
            "Nothing, unless it lasts: then look what the initializer is doing.",
            {"pids": [each.pid for each in starting]},
        )


def _stuck(looks: Sequence[Look]) -> Iterator[Finding]:
    """Work, and workers that could do it, and nobody does."""
    idle = _lasting(
        looks,
        lambda each: each.role is Role.WORKER and each.ready and each.condition is Condition.ALIVE and not each.task_id,
    )
    if idle and all(map(_is_waiting, looks)) and _is_same(looks, _done_so_far):
        queued = min(look.slots["queued"] for look in looks)
        yield Finding(
            Severity.ERROR,
            "stuck",
            f"{_count(queued, 'task is', 'tasks are')} queued, {_count(len(idle), 'worker is', 'workers are')} idle,"
            " and nothing was taken all this time.",
            f"Replace a worker (kill it: another one starts and looks). {_REPORT}.",
            {"queued": queued, "workers": [each.pid for each in idle]},
        )


def _is_waiting(look: Look) -> bool:
    """Tasks lie in the rings, and none is in anybody's hands: one that is only unpickled counts as claimed."""
    slots = look.slots
    return slots["queued"] > 0 and sum(map(sum, look.depths)) > 0 and not slots["claimed"] and not slots["running"]


def _done_so_far(look: Look) -> object:
    return {each.label: each.tasks_run for each in look.of(Role.WORKER)}


# --- readings that somebody should know -----------------------------------------------------------------------------


def _long_tasks(looks: Sequence[Look], seconds: float) -> Iterator[Finding]:
    last = looks[-1]
    for each in last.of(Role.WORKER):
        ran = (last.at_ns - each.task_since_ns) / 1e9
        if each.task_id is None or ran < seconds or each.condition is Condition.ENDED:
            continue
        what = f"task {each.task_id}" + (f" ({each.function})" if each.function else "")
        yield Finding(
            Severity.INFO,
            "long_task",
            f"Worker {each.pid} has been running {what} for {ran:.0f} s.",
            f"Nothing, if that is as long as it takes; `py-spy dump --pid {each.pid}` shows where it is.",
            {"pid": each.pid, "task_id": each.task_id, "function": each.function, "seconds": round(ran, 3)},
        )


def _nearly_full(looks: Sequence[Look], sizes: Sizes) -> Iterator[Finding]:
    on_their_way = min(sum(look.slots[state] for state in ("queued", "claimed", "running", "done")) for look in looks)
    if on_their_way > NEARLY_FULL * sizes.capacity:
        yield Finding(
            Severity.INFO,
            "nearly_full",
            f"{on_their_way} of {sizes.capacity} tasks are on their way: submitters will wait, or wait already.",
            "Nothing, if they may wait; else more workers, a larger capacity=, or clients that read their results.",
            {"tasks": on_their_way, "capacity": sizes.capacity},
        )
    held = min(look.held for look in looks)
    if held > NEARLY_FULL * sizes.memory:
        yield Finding(
            Severity.INFO,
            "memory_nearly_full",
            f"{held >> 20} of {sizes.memory >> 20} MiB hold arguments and results: submitters will wait, or wait"
            " already.",
            "A larger memory=, a smaller result_cache_size=, or clients that read their results.",
            {"held": held, "memory": sizes.memory},
        )


def _history(last: Look) -> Iterator[Finding]:
    """What has happened, and was dealt with."""
    tallies = last.tallies
    replaced = tallies.get("supervisors_started", 0) - 1
    if replaced > 0:
        yield Finding(
            Severity.INFO,
            "supervisor_replaced",
            f"The supervisor was lost and replaced {_count(replaced, 'time', 'times')} since the queue was opened.",
            "If nobody killed it, look in dmesg for the out-of-memory killer.",
            {"times": replaced},
        )
    if crashed := tallies.get("workers_crashed", 0):
        failed, again = tallies.get("tasks_crashed", 0), tallies.get("tasks_requeued", 0)
        yield Finding(
            Severity.INFO,
            "workers_crashed",
            f"{_count(crashed, 'worker has', 'workers have')} crashed since the queue was opened;"
            f" {_count(failed, 'task', 'tasks')} ended with that, {again} ran again.",
            "WorkerCrashed, the error of such a task, says how its worker ended.",
            {"workers": crashed, "tasks_failed": failed, "tasks_run_again": again},
        )


def _person(process: ProcessSeen) -> str:
    held = f" with task {process.task_id}" if process.task_id else ""
    return f"{process.role} {process.pid}{held}"


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
