# SPDX-License-Identifier: MIT
"""What looks mean: only what all of them found counts, and who was stopped is not accused of more than that."""

from __future__ import annotations

from typing import Any

import pytest

from localq._native import PHASE_BROKEN, PHASE_DRAINING
from localq.monitor.diagnosis import Finding, Severity, Sizes, diagnose, is_healthy
from localq.monitor.looks import Condition, Contradiction, Look, ProcessSeen, Role

SECOND = 1_000_000_000
SIZES = Sizes(capacity=100, memory=64 << 20)
NO_SLOTS = dict.fromkeys(("fresh", "writing", "queued", "claimed", "running", "done", "cached", "cancelled", "free"), 0)
WORKER, CLIENT = 0x1003, 0x1002  # labels

SUPERVISOR_ROW = ProcessSeen(0x1001, True, Role.SUPERVISOR, 101, Condition.ALIVE, ready=True)
CLIENT_ROW = ProcessSeen(CLIENT, True, Role.CLIENT, 102, Condition.ALIVE)
WORKER_ROW = ProcessSeen(WORKER, True, Role.WORKER, 103, Condition.ALIVE, ready=True)


def replaced(seen: ProcessSeen, **changes: Any) -> ProcessSeen:
    return ProcessSeen(**{name: getattr(seen, name) for name in seen.__struct_fields__} | changes)


def look(
    *problems: Contradiction,
    supervisor: ProcessSeen | None = SUPERVISOR_ROW,
    client: ProcessSeen = CLIENT_ROW,
    worker: ProcessSeen | None = WORKER_ROW,
    also: tuple[ProcessSeen, ...] = (),
    slots: dict[str, int] | None = None,
    queued: int = 0,
    **changes: Any,
) -> Look:
    rows = tuple(row for row in (supervisor, client, worker) if row is not None) + also
    fields: dict[str, Any] = {
        "at_ns": 1000 * SECOND,
        "phase": 0,
        "workers": 1,
        "contradictions": frozenset(problems),
        "processes": rows,
        "depths": ((0, 0, queued, 0),),
        "slots": {**NO_SLOTS, "queued": queued, **(slots or {})},
        "tallies": {"supervisors_started": 1, "workers_started": 1},
        "held": 0,
        "kept": 0,
    }
    return Look(**fields | changes)


def found(*looks: Look) -> list[tuple[str, str]]:
    return [(finding.severity.value, finding.code) for finding in diagnose(looks, SIZES)]


def three(*problems: Contradiction, **parts: Any) -> list[Look]:
    return [look(*problems, **parts)] * 3


def test_a_quiet_queue_has_no_findings():
    assert found(*three()) == []
    assert is_healthy(diagnose(three(), SIZES))


# --- words ----------------------------------------------------------------------------------------------------------

LOST = Contradiction("a queued task is in no ring, slot", 7, 0x0000000500100232, CLIENT)
UNTOLD = Contradiction("a finished task was not announced, slot", 8, 0x0000000500000005, CLIENT)
UNTOLD_TOO = Contradiction("a finished task was not announced, slot", 9, 0x0000000500000005, CLIENT)
LEFT = Contradiction("a dead process still owns slot", 3, 0x0000000500555503, 0x5555)
NOBODYS = Contradiction("nobody holds block", 2049, 0x0000000500000002, 0)
NO_ARGUMENTS = Contradiction("a queued task lost its arguments, slot", 4, 0x0000000500000002, 0)
NONSENSE = Contradiction("a state that no version writes: slots", 0, 0, 0)


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ([LOST], "task_lost"),
        ([UNTOLD, UNTOLD_TOO], "result_lost"),
        ([LEFT], "leak"),
        ([NOBODYS], "leak"),
        ([NO_ARGUMENTS], "arguments_lost"),
        ([NONSENSE], "damaged"),
        ([Contradiction("a cell that no version writes: ring", 2, 0, 0)], "damaged"),
        ([Contradiction("the header contradicts itself, version", 9, 0, 0)], "damaged"),
        ([Contradiction("something that a later version may say", 1, 1, 0)], "damaged"),
    ],
)
def test_a_contradiction_that_stays_is_an_error(problems, expected):
    assert found(*three(*problems)) == [("error", expected)]


def test_one_that_was_gone_in_one_look_is_none():
    for absent in range(3):
        looks = three(LOST, NOBODYS)
        looks[absent] = look()
        assert found(*looks) == []


def test_the_same_place_with_another_word_is_another_one():
    later = Contradiction(LOST.what, LOST.index, LOST.word + (1 << 32), CLIENT)

    assert found(look(LOST), look(later), look(LOST)) == []


def test_many_of_a_kind_are_one_finding_that_names_some_and_keeps_all():
    lost = [Contradiction(LOST.what, index, LOST.word, CLIENT) for index in range(1000)]

    (finding,) = diagnose(three(*lost), SIZES)

    assert len(finding.what) < 500
    assert "995 more" in finding.what
    assert len(finding.facts["words"]) == 1000
    assert finding.facts["words"][0] == {"what": LOST.what, "index": 0, "word": "0000000500100232"}


def test_what_a_stopped_process_owes_is_no_error():
    stopped = replaced(CLIENT_ROW, condition=Condition.STOPPED)

    assert found(*three(LOST, client=stopped)) == [("warning", "stopped_half_way"), ("warning", "client_stopped")]


def test_an_announcement_that_a_stopped_worker_owes_is_no_error():
    stopped = replaced(WORKER_ROW, condition=Condition.STOPPED)
    owed = Contradiction(UNTOLD.what, 8, 5 << 32 | WORKER << 8 | 5, CLIENT)

    assert ("warning", "stopped_half_way") in found(*three(owed, worker=stopped))


def test_one_result_that_a_client_is_reading_is_no_error():
    assert found(*three(UNTOLD)) == [("warning", "result_being_read")]


def test_what_the_dead_left_is_no_leak_while_their_row_is_kept():
    dead = ProcessSeen(0x5555, False, Role.WORKER, 999, Condition.ENDED)

    assert found(*three(LEFT, also=(dead,))) == [("warning", "recovery_unfinished"), ("warning", "rows_not_released")]


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_death_that_the_supervisor_does_not_notice_is_an_error():
    dead = replaced(WORKER_ROW, label=0x2004, pid=104, condition=Condition.ENDED, task_id="ab-1-2")

    (finding,) = diagnose(three(also=(dead,)), SIZES)

    assert (finding.severity, finding.code) == (Severity.ERROR, "death_unnoticed")
    assert finding.facts == {"pids": [104]}
    assert "ab-1-2" in finding.what
    assert "101" in finding.advice


@pytest.mark.parametrize(
    "supervisor",
    [
        replaced(SUPERVISOR_ROW, ready=False),
        replaced(SUPERVISOR_ROW, condition=Condition.ENDED),
        None,
    ],
)
def test_one_that_no_supervisor_could_have_noticed_yet_is_not(supervisor):
    dead = replaced(WORKER_ROW, label=0x2004, condition=Condition.ENDED)
    looks = [look(supervisor=supervisor, also=(dead,)), look(also=(dead,)), look(also=(dead,))]

    assert found(*looks) == []


def test_workers_that_die_one_after_another_are_not_one_that_stays_dead():
    looks = [
        look(
            worker=replaced(WORKER_ROW, label=0x1003 + (n << 12), condition=Condition.ENDED),
            tallies={"workers_started": n},
        )
        for n in range(3)
    ]

    assert found(*looks) == []


def test_a_supervisor_that_is_stopped_or_gone():
    stopped = replaced(SUPERVISOR_ROW, condition=Condition.STOPPED)

    assert found(*three(supervisor=stopped)) == [("error", "supervisor_stopped")]
    assert found(*three(supervisor=None)) == [("warning", "supervisor_missing")]
    assert found(look(supervisor=None), look(supervisor=None), look()) == []


def test_rows_that_nobody_gave_back():
    dead = replaced(WORKER_ROW, label=0x2004, live=False, condition=Condition.ENDED)
    unborn = replaced(WORKER_ROW, label=0x2005, pid=0, condition=Condition.UNKNOWN, ready=False)

    assert found(*three(also=(dead,))) == [("warning", "rows_not_released")]
    assert ("warning", "rows_without_process") in found(*three(also=(unborn,)))


def test_a_roster_that_is_nearly_full():
    crowd = tuple(replaced(CLIENT_ROW, label=0x3000 + n) for n in range(240))

    assert found(*three(also=crowd)) == [("warning", "roster_nearly_full")]


def test_missing_workers_are_a_warning_unless_some_were_started_meanwhile():
    started = [look(worker=None, tallies={"workers_started": n}) for n in range(3)]

    assert found(*three(worker=None)) == [("warning", "workers_missing")]
    assert found(*started) == []


def test_a_worker_that_is_only_starting_is_told():
    assert found(*three(worker=replaced(WORKER_ROW, ready=False))) == [("info", "workers_starting")]


@pytest.mark.parametrize(
    ("phase", "expected"), [(PHASE_DRAINING, ("info", "ending")), (PHASE_BROKEN, ("error", "workers_do_not_start"))]
)
def test_a_queue_that_ends_needs_no_workers(phase, expected):
    assert found(*three(worker=None, phase=phase)) == [expected]


# --- work -----------------------------------------------------------------------------------------------------------


def test_tasks_that_idle_workers_do_not_take_are_an_error():
    (finding,) = diagnose(three(queued=3), SIZES)

    assert (finding.severity, finding.code) == (Severity.ERROR, "stuck")
    assert finding.facts == {"queued": 3, "workers": [103]}


@pytest.mark.parametrize(
    "moving",
    [
        {"worker": replaced(WORKER_ROW, tasks_run=1)},
        {"worker": replaced(WORKER_ROW, task_id="ab-1-2", task_since_ns=1000 * SECOND)},
        {"slots": {"claimed": 1}},
        {"slots": {"running": 1}},
        {"queued": 0},
        {"depths": ((0, 0, 0, 0),)},
    ],
)
def test_they_are_not_when_anything_moves_in_one_look(moving):
    looks = [look(queued=3), look(queued=3), look(**{"queued": 3, **moving})]

    assert found(*looks) == []


@pytest.mark.parametrize(
    "worker", [None, replaced(WORKER_ROW, ready=False), replaced(WORKER_ROW, condition=Condition.STOPPED)]
)
def test_nor_when_there_is_nobody_to_take_them(worker):
    assert "stuck" not in [code for _, code in found(*three(queued=3, worker=worker))]


def test_a_long_task_is_named_with_its_function():
    worker = replaced(WORKER_ROW, task_id="ab-1-2", task_since_ns=900 * SECOND, function="films.convert")

    (finding,) = diagnose(three(worker=worker), SIZES)

    assert (finding.severity, finding.code) == (Severity.INFO, "long_task")
    assert finding.facts == {"pid": 103, "task_id": "ab-1-2", "function": "films.convert", "seconds": 100.0}
    assert diagnose(three(worker=worker), SIZES, long_task_seconds=101) == []


def test_capacity_and_memory_that_are_nearly_used_up_are_told():
    assert found(*three(slots={"done": 91})) == [("info", "nearly_full")]
    assert found(*three(held=60 << 20)) == [("info", "memory_nearly_full")]
    assert found(look(slots={"done": 91}), look(), look(slots={"done": 91})) == []


def test_what_has_happened_is_told_and_harms_nobody():
    tallies = {"supervisors_started": 2, "workers_started": 9, "workers_crashed": 1, "tasks_crashed": 1}
    findings = diagnose(three(tallies=tallies), SIZES)

    assert [finding.code for finding in findings] == ["supervisor_replaced", "workers_crashed"]
    assert "1 time " in findings[0].what
    assert "1 worker has crashed" in findings[1].what
    assert is_healthy(findings)


def test_the_worst_comes_first():
    stopped = replaced(CLIENT_ROW, condition=Condition.STOPPED)
    severities = [severity for severity, _ in found(*three(NONSENSE, client=stopped, tallies={"workers_crashed": 1}))]

    assert severities == ["error", "warning", "info"]


def test_every_finding_says_what_and_what_to_do():
    stopped = replaced(CLIENT_ROW, condition=Condition.STOPPED)
    everything: list[Finding] = diagnose(
        three(NONSENSE, LOST, NOBODYS, NO_ARGUMENTS, client=stopped, worker=None), SIZES
    )

    assert len(everything) >= 5
    for finding in everything:
        assert [finding.what[-1], finding.advice[-1]] == [".", "."]
        assert "{" not in finding.what
