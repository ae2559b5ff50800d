# SPDX-License-Identifier: MIT
"""What notebooks show of a queue, a future and a result: small, escaped, whatever state they are in."""

from __future__ import annotations

import threading
from html.parser import HTMLParser
from typing import NoReturn

import pytest

from localq import LocalQueue, TaskResult, TaskStatus
from localq.markup import MOST_CHARACTERS, seconds, shown, table
from tests.support import tasks
from tests.support.queues import PATIENCE, id_of, read


class Unrepresentable:
    def __repr__(self) -> NoReturn:
        raise RuntimeError("no")


def cells(html: str) -> list[str]:
    """The text of each cell. Fails when a tag is left open."""

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

        def handle_data(self, data: str) -> None:
            found.append(data)

    opened: list[str] = []
    found: list[str] = []
    Reader().feed(html)
    assert opened == []
    return found


def test_what_stands_in_a_table_is_escaped():
    html = table("<b>&", [("<i>", "<script>x</script>")])

    assert "<script>" not in html
    assert cells(html) == ["<b>&", "<i>", "<script>x</script>"]


def test_rows_without_a_value_are_left_out():
    assert cells(table("t", [("none", None), ("empty", ""), ("zero", 0)])) == ["t", "zero", "0"]


def test_a_long_value_is_cut_and_one_that_cannot_be_shown_is_named():
    assert len(shown("x" * 1000)) == MOST_CHARACTERS
    assert shown(Unrepresentable()) == "<Unrepresentable, whose repr raised RuntimeError>"


@pytest.mark.parametrize(
    ("length", "text"),
    [(None, ""), (0.0000123, "12.3 us"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (123456.0, "123,456 s")],
)
def test_a_time_has_the_unit_that_suits_it(length, text):
    assert seconds(length) == text


def test_a_future_shows_its_state_and_then_its_result(q, gate):
    future = q.delay(tasks.slow, gate.path, "<done>")
    gate.wait_for_arrivals(1)
    assert cells(future._repr_html_())[:3] == [f"TaskFuture {id_of(future)}", "status", "started"]

    gate.open()
    future.result(PATIENCE)
    assert "'<done>'" in cells(future._repr_html_())


def test_a_future_that_failed_or_was_cancelled_shows_that(lone, gate):
    failed = lone.delay(tasks.fail, "why")
    failed.exception(PATIENCE)
    lone.delay(tasks.slow, gate.path)
    cancelled = lone.delay(tasks.noop)
    cancelled.cancel()

    assert "Mishap('why', 7)" in cells(failed._repr_html_())
    assert "cancelled" in cells(cancelled._repr_html_())


def test_a_future_that_was_never_sent_shows_why(q):
    future = q.delay(tasks.same, threading.Lock())

    assert "failure" in cells(future._repr_html_())


def test_a_result_shows_its_value_or_its_error(q):
    good, bad = q.delay(tasks.add, 1), q.delay(tasks.fail)
    assert (good.result(PATIENCE), bool(bad.exception(PATIENCE))) == (2, True)

    assert cells(read(q, id_of(good))._repr_html_())[1:5] == ["status", "success", "value", "2"]
    assert "Mishap('on purpose', 7)" in cells(read(q, id_of(bad))._repr_html_())
    assert cells(TaskResult("t-1", TaskStatus.PENDING)._repr_html_())[1:3] == ["status", "pending"]


def test_a_queue_shows_its_state_also_after_it_was_closed(gate):
    with LocalQueue(workers=1, name="shown") as queue:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        assert cells(queue._repr_html_()) == [
            "LocalQueue shown", "state", "open", "workers", "1", "queued", "0", "running", "1", "waited for here", "1",
        ]  # fmt: skip
        gate.open()

    assert cells(queue._repr_html_()) == ["LocalQueue shown", "state", "closed", "workers", "1"]
