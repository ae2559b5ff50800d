# SPDX-License-Identifier: MIT
"""Priorities, statuses and results as people meet them."""

from __future__ import annotations

import pickle

import pytest

from localq.errors import ConfigError, LocalqError
from localq.model import Priority, TaskResult, TaskStatus


@pytest.mark.parametrize("priority", Priority)
def test_a_priority_is_known_by_member_number_and_name(priority: Priority) -> None:
    for word in (priority, priority.value, priority.name.lower()):
        assert Priority.parse(word) is priority


def test_a_smaller_priority_is_more_urgent() -> None:
    assert Priority.CRITICAL < Priority.HIGH < Priority.NORMAL < Priority.LOW


@pytest.mark.parametrize("nonsense", [4, -1, "urgent", "", "HIGH", True, False, None, 1.0, [], b"high"])
def test_anything_else_is_refused_with_the_choices(nonsense) -> None:
    with pytest.raises(ConfigError, match="critical, high, normal or low") as caught:
        Priority.parse(nonsense)

    assert repr(nonsense) in str(caught.value)


def test_a_status_prints_as_its_value() -> None:
    assert [str(status) for status in TaskStatus] == [
        "pending", "started", "success", "failure", "cancelled", "evicted", "expired"
    ]  # fmt: skip
    assert TaskStatus("success") is TaskStatus.SUCCESS


def result(**changes: object) -> TaskResult[object]:
    made: TaskResult[object] = TaskResult("t-1", TaskStatus.SUCCESS, [1], None, 1, 99, 10.0, 12.5, 13.0)
    return made.replace(**changes)


def test_a_result_tells_waiting_from_running() -> None:
    assert (result().wait_seconds, result().run_seconds) == (2.5, 0.5)


def test_times_that_were_never_reached_are_none() -> None:
    assert result(started_at=None).wait_seconds is None
    assert result(finished_at=None).run_seconds is None


def test_a_clock_set_back_gives_no_negative_time() -> None:
    assert result(finished_at=1.0).run_seconds == 0.0


def test_unwrap_gives_the_value_even_if_it_is_none() -> None:
    assert result().unwrap() == [1]
    assert result(value=None).unwrap() is None


def test_unwrap_raises_the_error_itself() -> None:
    error = KeyError("k")

    with pytest.raises(KeyError) as caught:
        result(status=TaskStatus.FAILURE, error=error).unwrap()

    assert caught.value is error


def test_unwrap_of_an_unfinished_task_says_how_far_it_is() -> None:
    with pytest.raises(LocalqError, match=r"t-1.*pending"):
        result(status=TaskStatus.PENDING).unwrap()


def test_a_result_compares_by_its_fields_and_errors_by_type_and_args() -> None:
    assert result() == result()
    assert result() != result(attempts=2)
    assert result(error=KeyError("k")) == result(error=KeyError("k"))
    assert result(error=KeyError("k")) != result(error=KeyError("other"))
    assert result(error=KeyError("k")) != result(error=LookupError("k"))
    assert result() != "something else"


def test_a_result_survives_pickling() -> None:
    original = result(error=ValueError("x"))

    assert pickle.loads(pickle.dumps(original)) == original


def test_a_result_is_frozen() -> None:
    frozen = result()

    with pytest.raises(AttributeError, match="frozen"):
        frozen.value = 2
    with pytest.raises(AttributeError, match="frozen"):
        del frozen.value
    with pytest.raises(AttributeError):
        frozen.other = 1


def test_a_result_prints_every_field() -> None:
    text = repr(result())

    assert text.startswith("TaskResult(task_id='t-1', status=")
    assert [name for name in TaskResult.__slots__ if f"{name}=" not in text] == []


def test_a_result_is_generic_at_run_time_too() -> None:
    assert TaskResult[int]("t", TaskStatus.SUCCESS, 1).value == 1
