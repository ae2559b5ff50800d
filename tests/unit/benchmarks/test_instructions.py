# SPDX-License-Identifier: MIT
"""Instruction counts: each path is what it says, counts are read as callgrind means them, and a change is noticed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.instructions import callgrind, check, parts, stored
from benchmarks.instructions.callgrind import Dump, Function
from benchmarks.instructions.paths import PATHS, STEPS, Stage
from localq import _native

DUMP = """\
# callgrind format
version: 1
cmd:  python -m benchmarks.instructions.paths
desc: Timerange: Basic block 1 - 2
desc: Trigger: Client Request: no-op|submit|256

positions: line
events: Ir
summary: 1130

ob=/lib/ours.so
fl=???
fn=lq_client_submit
0 600
cob=/lib/libc.so.6
cfi=???
cfn=memcpy
calls=3 0
0 30
0 400

fn=lq_now_ns
0 100

ob=/lib/libc.so.6
fl=???
fn=memcpy
0 30
"""


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize("name", PATHS)
def test_every_path_is_submitted_run_and_collected_by_one_process(stage, name):
    path = PATHS[name]
    steps: list[str] = []

    stage.play(path, 2 * path.per_task, steps.append)

    assert tuple(steps) == STEPS
    slots = stage.queue._space.slots()
    assert slots["queued"] == slots["running"] == slots["done"] == 0


def test_a_path_whose_results_are_wrong_is_no_measure(stage):
    wrong = dataclasses.replace(PATHS["int"], value=8)

    with pytest.raises(AssertionError, match=r"the last is \[7\]"):
        stage.play(wrong, 3, lambda step: None)


def test_a_dump_gives_each_function_what_it_did_itself(tmp_path):
    file = tmp_path / "dump.1"
    file.write_text(DUMP)

    dump = callgrind.read(file)

    assert dump.mark == "no-op|submit|256"
    assert dump.instructions == {
        Function("/lib/ours.so", "lq_client_submit"): 1000,
        Function("/lib/ours.so", "lq_now_ns"): 100,
        Function("/lib/libc.so.6", "memcpy"): 30,
    }


def test_a_call_costs_what_twice_as_many_took_beyond_so_many():
    once, each, more = Function("a", "once"), Function("a", "each"), Function("a", "more")
    dumps = [
        Dump("no-op|submit|0", {each: 9999}),
        Dump("no-op|submit|10", {once: 5000, each: 70}),
        Dump("no-op|submit|20", {once: 5000, each: 140, more: 30}),
    ]

    assert callgrind.per_call(dumps) == {("no-op", "submit"): {once: 0.0, each: 7.0, more: 3.0}}


def test_instructions_go_to_the_part_of_their_function_or_to_whose_they_are():
    functions = {
        Function("/x/_native.so", "lq_client_submit"): 10.0,
        Function("/x/_native.so", "search_"): 5.0,
        Function("/usr/bin/python3.11", "lq_client_submit"): 7.0,
        Function("/x/numpy/core.so", "dot"): 1.0,
        Function("/usr/lib/libc.so.6", "memcpy"): 100.0,
        Function("/tmp/marks.so", "clock_gettime"): 15.0,
    }

    assert callgrind.by_part(functions, "/x/_native.so") == {"ring": 15.0, "python": 8.0, "system": 100.0}


@pytest.mark.parametrize(
    ("symbol", "name", "part"),
    [
        ("__pyx_f_6localq_7_native_6Client_submit", "Client.submit", "future"),
        ("__pyx_pw_6localq_7_native_6Client_37reap", "Client.reap", "future"),
        ("__pyx_f_6localq_7_native_6Client_fill.part.0", "Client.fill", "slot"),
        ("__pyx_f_6localq_7_native_6Worker_call", "Worker.call", "call"),
        ("__pyx_f_6localq_7_native_6Worker_store", "Worker.store", "arena"),
        ("__pyx_tp_dealloc_6localq_7_native_Future", "Future.tp_dealloc", "future"),
        ("__pyx_f_6localq_7_native_delay", "delay", "future"),
        ("encode_members.cold", "encode_members", "encode"),
        ("decode_rare'2", "decode_rare", "decode"),
        ("lq_client_submit", "lq_client_submit", "ring"),
        ("lq_client_consume", "lq_client_consume", "slot"),
        ("lq_client_store_args", "lq_client_store_args", "arena"),
        ("lq_space_call_worker", "lq_space_call_worker", "bell"),
        ("__Pyx_PyObject_GetAttrStr", "__Pyx_PyObject_GetAttrStr", "other"),
    ],
)
def test_a_symbol_is_read_as_the_function_that_people_know(symbol, name, part):
    assert (parts.plain_name(symbol), parts.part_of(symbol)) == (name, part)


BEFORE = {"no-op": {"submit": {"slot": 600.0, "ring": 400.0, "python": 2000.0, "system": 50.0}}}


def changed(**now: float) -> list[str]:
    counts = {"no-op": {"submit": {**BEFORE["no-op"]["submit"], **now}}}
    return check.changes(counts, BEFORE, with_python=True)


def test_what_is_within_the_tolerance_is_no_change():
    assert (
        changed() == changed(slot=632.0) == changed(slot=568.0) == changed(python=2259.0) == changed(system=900.0) == []
    )


def test_a_step_that_grew_is_told_with_the_part_that_did():
    assert changed(slot=640.0) == [
        "no-op, submit: dearer, 1,000 -> 1,040 instructions (+4.0%): slot +40",
    ]


def test_a_step_that_shrank_is_told_as_well():
    (line,) = changed(ring=300.0)

    assert "cheaper" in line
    assert "ring -100" in line


def test_what_python_does_is_compared_only_for_the_same_interpreter():
    dearer = {"no-op": {"submit": {**BEFORE["no-op"]["submit"], "python": 2300.0}}}

    assert len(check.changes(dearer, BEFORE, with_python=True)) == 1
    assert check.changes(dearer, BEFORE, with_python=False) == []


def test_a_path_that_was_never_counted_is_told():
    assert check.changes({"new": BEFORE["no-op"]}, BEFORE, with_python=False) == ["new, submit: is not stored yet"]


def test_what_is_stored_is_found_again_and_leaves_the_rest(tmp_path):
    file = tmp_path / "counts.json"
    stored.Stored(file).update("one", "3.11.7", {"text": BEFORE["no-op"]})
    stored.Stored(file).update("two", "3.12.0", BEFORE)
    stored.Stored(file).update("one", "3.11.7", BEFORE)

    read = stored.Stored(file)

    kept = {"submit": {"slot": 600.0, "ring": 400.0, "python": 2000.0}}  # what the C library does is nobody's
    assert list(read) == ["one", "two"]
    assert read.counts("one") == {"text": kept, "no-op": kept}
    assert (read.interpreter("one"), read.interpreter("two")) == ("3.11.7", "3.12.0")


def test_what_another_interpreter_did_is_not_kept_beside_this_ones(tmp_path):
    file = tmp_path / "counts.json"
    stored.Stored(file).update("one", "3.11.2", {"text": BEFORE["no-op"]})
    stored.Stored(file).update("one", "3.11.7", BEFORE)

    assert list(stored.Stored(file).counts("one")) == ["no-op"]


def test_noise_in_what_python_does_is_not_stored_but_every_instruction_of_ours_is(tmp_path):
    file = tmp_path / "counts.json"
    stored.Stored(file).update("one", "3.11.7", BEFORE)
    stored.Stored(file).update("one", "3.11.7", {"no-op": {"submit": {"slot": 601.0, "python": 2020.0}}})

    assert stored.Stored(file).counts("one") == {"no-op": {"submit": {"slot": 601.0, "python": 2000.0}}}

    stored.Stored(file).update("one", "3.11.7", {"no-op": {"submit": {"slot": 601.0, "python": 2050.0}}})

    assert stored.Stored(file).counts("one") == {"no-op": {"submit": {"slot": 601.0, "python": 2050.0}}}


def test_an_extension_says_which_compiler_made_it(tmp_path):
    other = tmp_path / "other.so"
    other.write_bytes(b"\x7fELF..._cython_97_6_5\0...\0GCC: (Some 99.1-2) 98.3.0\0...")
    nobody = tmp_path / "nobody.so"
    nobody.write_bytes(b"\x7fELF...")

    assert ", Cython 97.6, GCC 98, " in stored.build_name(other)
    assert stored.build_name(Path(_native.__file__)) != stored.build_name(other)
    assert ", no Cython, another compiler, " in stored.build_name(nobody)


def test_every_path_is_stored_for_every_build():
    builds = stored.Stored()

    assert {build: set(builds.counts(build)) for build in builds} == {build: set(PATHS) for build in builds}


def test_a_build_that_nothing_is_stored_for_is_no_failure(tmp_path):
    verdict = check.judge(BEFORE, stored.Stored(tmp_path / "none.json"), "some build", "3.11.7")

    assert verdict.is_good
    assert "nothing to compare with: no counts are stored for some build" in verdict.lines[0]


@pytest.fixture
def of_before(tmp_path):
    """Stored for the build "here": two paths, of which one is much dearer than the other."""
    before = stored.Stored(tmp_path / "counts.json")
    before.update("here", "3.11.7", {**BEFORE, "text": {"submit": {"slot": 800.0, "ring": 400.0, "python": 2000.0}}})
    return before


def test_counts_as_they_were_are_good(of_before):
    assert check.judge(of_before.counts("here"), of_before, "here", "3.11.7").is_good


def test_counts_that_have_changed_are_not_good(of_before):
    dearer = {**of_before.counts("here"), "no-op": {"submit": {"slot": 640.0, "ring": 400.0, "python": 2000.0}}}

    verdict = check.judge(dearer, of_before, "here", "3.11.7")

    assert not verdict.is_good
    assert verdict.lines[0] == "changed: no-op, submit: dearer, 1,000 -> 1,040 instructions (+4.0%): slot +40"


def test_a_check_that_could_not_notice_the_control_is_not_good(of_before):
    as_cheap = {**of_before.counts("here"), "text": BEFORE["no-op"]}
    of_before.update("here", "3.11.7", as_cheap)

    verdict = check.judge(as_cheap, of_before, "here", "3.11.7")

    assert not verdict.is_good
    assert "control failed" in verdict.lines[-1]


def test_of_another_interpreter_the_rest_is_compared_and_that_is_said(of_before):
    counts = {
        path: {"submit": {**steps["submit"], "python": 9000.0}} for path, steps in of_before.counts("here").items()
    }

    verdict = check.judge(counts, of_before, "here", "3.11.8")

    assert verdict.is_good
    assert verdict.lines[0] == "not compared: what Python does; stored for 3.11.7"
