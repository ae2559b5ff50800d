# SPDX-License-Identifier: MIT
"""The trace file: made-up records written, and read back as Perfetto would."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localq.monitor.tracks import Lanes, Record, TraceFile

BEGIN = 1_000_000_000_000


def record(**changes: Any) -> Record:
    """A call that waited 5 us, was unpacked in 1, ran 10, and was sent in 2."""
    usual = Record(
        slot=3,
        generation=1,
        function="images.shrink",
        kind=0,
        pid=300,
        submit_ns=BEGIN + 1_000,
        taken_ns=BEGIN + 6_000,
        begun_ns=BEGIN + 7_000,
        ended_ns=BEGIN + 17_000,
        sent_ns=BEGIN + 19_000,
        received_ns=0,
        attempt=1,
        items=0,
        bytes_in=8,
        bytes_out=16,
        outcome="success",
    )
    return usual._replace(**changes)


class Written:
    def __init__(self) -> None:
        self.text = io.StringIO()
        self.file = TraceFile(self.text, "thumbs", 100, BEGIN, {"queue": "thumbs"})

    @property
    def events(self) -> list[dict[str, Any]]:
        self.file.end()
        told = json.loads(self.text.getvalue())
        assert set(told) == {"displayTimeUnit", "otherData", "traceEvents"}
        return list(told["traceEvents"])


def slices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == "X"]


def names_of(events: list[dict[str, Any]], kind: str) -> dict[int, str]:
    return {event.get("tid", 0): event["args"]["name"] for event in events if event["name"] == kind}


def test_a_trace_of_nothing_is_sound():
    (event,) = Written().events

    assert event == {"ph": "M", "name": "process_name", "pid": 100, "args": {"name": "localq thumbs"}}


def test_a_run_is_three_slices_that_follow_each_other_on_its_workers_track():
    written = Written()
    written.file.run(record(), "7-3-1", 0)

    events = written.events
    transfer, run, back = sorted(slices(events), key=lambda event: event["ts"])
    assert names_of(events, "thread_name") == {300: "worker 300"}
    assert [each["name"] for each in (transfer, run, back)] == ["transfer", "images.shrink", "return"]
    assert [each["ts"] - BEGIN / 1000 for each in (transfer, run, back)] == [6.0, 7.0, 17.0]
    assert [each["dur"] for each in (transfer, run, back)] == [1.0, 10.0, 2.0]
    assert run["args"] == {
        "task": "7-3-1",
        "attempt": 1,
        "run_us": 10.0,
        "bytes_in": 8,
        "bytes_out": 16,
        "outcome": "success",
        "wait_us": 5.0,
    }


def test_arrows_lead_from_the_client_to_the_run_and_back():
    written = Written()
    written.file.run(record(), "7-3-1", 0)
    written.file.way(record(), 0, 100, BEGIN + 25_000)

    events = written.events
    wait, result = (
        [event for event in events if event["ph"] in "sf" and event["name"] == name] for name in ("wait", "result")
    )
    assert names_of(events, "thread_name") == {300: "worker 300", 100: "client 100"}
    for begin, end in (wait, result):
        assert (begin["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert begin["id"] == end["id"]
        for each in (begin, end):  # an arrow without a slice around its end is dropped
            assert any(
                one["tid"] == each["tid"] and one["ts"] <= each["ts"] < one["ts"] + one["dur"] for one in slices(events)
            )
    assert wait[0]["id"] != result[0]["id"]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 5), max_size=12))
def test_slices_of_one_track_follow_each_other_or_lie_in_each_other_and_no_arrow_hangs_in_the_air(steps):
    """Some readers drop what overlaps otherwise. Whatever takes no time at all, or began before the trace."""
    written, at = Written(), BEGIN - 5
    for submitted, taken, begun, ended, sent in steps:
        times = [at := at + step for step in (submitted, taken, begun, ended, sent)]
        names = ("submit_ns", "taken_ns", "begun_ns", "ended_ns", "sent_ns")
        if times[3] > max(times[2], BEGIN):  # the clock is finer than any run
            run = record(**dict(zip(names, times, strict=True)))
            written.file.run(run, "7-3-1", 0)
            written.file.way(run, 0, 100, at := at + 1)

    events = written.events
    spans = [(each["tid"], ns(each["ts"]), ns(each["ts"]) + ns(each["dur"])) for each in slices(events)]
    for one, other in itertools.combinations(sorted(spans, key=lambda span: (span[1], -span[2])), 2):
        if one[0] == other[0]:
            assert one[2] <= other[1] or other[2] <= one[2]
    for event in events:
        if event["ph"] in "sf":
            assert any(span[0] == event["tid"] and span[1] <= ns(event["ts"]) < span[2] for span in spans)


def ns(us: float) -> int:
    return round(us * 1000)


def test_a_process_that_is_client_and_worker_has_two_tracks():
    written = Written()
    written.file.run(record(), "7-3-1", 0)
    written.file.way(record(), 0, 300, BEGIN + 25_000)

    names = names_of(written.events, "thread_name")
    assert sorted(names.values()) == ["client 300", "worker 300"]
    assert len(names) == 2


def test_a_long_task_is_cut_where_the_trace_begins_and_its_length_is_told():
    written = Written()
    long = record(submit_ns=BEGIN - 10**10, taken_ns=BEGIN - 10**9, begun_ns=BEGIN - 10**9)
    written.file.run(long, "7-3-1", 0)
    written.file.way(long, 0, 100, BEGIN + 25_000)

    events = written.events
    assert min(event["ts"] for event in events if "ts" in event) == BEGIN / 1000
    (run,) = (each for each in slices(events) if each["cat"] == "run")
    assert not [each for each in slices(events) if each["cat"] == "transfer"]
    assert run["args"]["run_us"] == 1_000_017.0
    assert [event["name"] for event in events if event["ph"] in "sf"] == ["result", "result"]


def test_names_that_are_hard_to_write_are_read_back():
    written = Written()
    for name in ('quote "it"', "back\\slash", "two\nlines", "é 本 \U0001f980", None):
        written.file.run(record(function=name), "7-3-1", 0)

    runs = [each["name"] for each in slices(written.events) if each["cat"] == "run"]
    assert runs == ['quote "it"', "back\\slash", "two\nlines", "é 本 \U0001f980", "(unknown)"]


def test_a_file_that_was_cut_off_holds_what_was_written():
    written = Written()
    written.file.run(record(), "7-3-1", 0)
    text = written.text.getvalue()

    told = json.loads(text + "]}")
    assert len(slices(told["traceEvents"])) == 3


def test_chunks_tell_their_items_and_a_later_run_no_wait():
    written = Written()
    written.file.run(record(kind=1, items=40, attempt=2), "7-3-1", 0)

    (run,) = (each for each in slices(written.events) if each["cat"] == "run")
    assert run["args"]["items"] == 40
    assert "wait_us" not in run["args"]


def test_what_still_runs_has_no_return():
    written = Written()
    written.file.run(record(), "7-3-1", 0, is_ended=False)

    events = slices(written.events)
    assert {each["cat"] for each in events} == {"transfer", "run"}
    assert [each["args"]["outcome"] for each in events if "args" in each] == ["not ended yet"]


def test_depths_and_losses_are_told():
    written = Written()
    written.file.depth(BEGIN + 5_000, 7, 2)
    written.file.lost(BEGIN + 6_000, 9)

    _, depth, lost = written.events
    assert (depth["ph"], depth["args"]) == ("C", {"queued": 7, "running": 2})
    assert (lost["ph"], lost["name"]) == ("i", "9 records lost")


# --- lanes ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 40)), max_size=40))
def test_runs_that_overlap_never_share_a_lane_and_there_are_no_more_lanes_than_runs_at_once(spans):
    """In the order of their ends, as they come."""
    runs = sorted(((begin, begin + length) for begin, length in spans), key=lambda run: run[1])
    lanes = Lanes()
    placed = [(lanes.place(*run), *run) for run in runs]

    for one, other in itertools.combinations(placed, 2):
        if one[0] == other[0]:
            assert one[2] <= other[1] or other[2] <= one[1]
    most = max((sum(b <= at < e for b, e in runs) for at, _ in runs), default=0)
    assert len({lane for lane, _, _ in placed}) == most


def test_one_run_after_the_other_stays_on_one_lane():
    lanes = Lanes()

    assert [lanes.place(n, n + 1) for n in range(5)] == [0] * 5
