# SPDX-License-Identifier: MIT
"""What a type checker makes of a program that uses localq, and whether the stub of the native core tells the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from localq import LocalExecutor, LocalQueue, task

def area(width: int, height: int = 1) -> float:
    return width * height

async def fetch(url: str) -> bytes:
    return url.encode()

@task(queue="mail")
def send(text: str) -> int:
    return len(text)

class Scale:
    def apply(self, value: int) -> list[int]:
        return [value]

async def main() -> None:
    with LocalQueue() as q:
        {line}
"""


def mypy_says(tmp_path: Path, line: str) -> str:
    """What mypy --strict has to say of the program with that line in it: notes and errors, or an empty text."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(line=line))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(program)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert answer.stderr == ""
    return answer.stdout


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("q.delay(area, 3, height=4)", "localq.client.future.TaskFuture[float]"),
        ("q.delay(area, 3).result()", "float"),
        ("await q.delay(area, 3)", "float"),
        ("q.options(priority='high').delay(area, 3).result()", "float"),
        ("q.delay(lambda: 1).result()", "int"),
        ("q.delay(fetch, 'x').result()", "bytes"),
        ("q.delay(send, 'x').result()", "int"),
        ("q.delay(Scale().apply, 1).result()", "list[int]"),
        ("q.delay('mail.send', 1, to=2).result()", "Any"),
        ("list(q.map(area, [1, 2]))", "list[float]"),
        ("q.submit_task(area, (1,)).unwrap()", "float"),
        ("q.executor().submit(area, 3, height=4)", "localq.client.future.TaskFuture[float]"),
        ("list(LocalExecutor().map(area, [1, 2], chunksize=2))", "list[float]"),
    ],
)
def test_a_result_has_the_type_that_its_function_returns(tmp_path: Path, call: str, expected: str) -> None:
    assert mypy_says(tmp_path, f"reveal_type({call})").endswith(f'note: Revealed type is "{expected}"\n')


@pytest.mark.parametrize(
    "call",
    [
        "q.delay(area, 'three')",
        "q.delay(area)",
        "q.delay(area, 3, depth=1)",
        "q.delay(fetch, 3)",
        "q.delay(send, 3)",
        "q.options(priority='high').delay(area, 'three')",
        "LocalExecutor().submit(area, 'three')",
    ],
)
def test_an_argument_that_the_function_does_not_take_is_an_error(tmp_path: Path, call: str) -> None:
    assert ": error: " in mypy_says(tmp_path, call)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("q.delay(area, q.delay(area, 3), height=4)", "TaskFuture[float]"),
        ("q.delay(area, 3, q.delay(area, 3))", "TaskFuture[float]"),
        ("q.delay(fetch, q.delay(area, 3))", "TaskFuture[bytes]"),
        ("q.options(priority=1).delay(send, q.delay(area, 3))", "TaskFuture[int]"),
    ],
)
def test_a_future_may_stand_for_an_argument(tmp_path: Path, call: str, expected: str) -> None:
    assert mypy_says(tmp_path, f"reveal_type({call})").endswith(f'"localq.client.future.{expected}"\n')


def test_a_future_is_one_of_concurrent_futures_with_that_result(tmp_path: Path) -> None:
    line = "from concurrent.futures import Future; future: Future[float] = q.delay(area, 3); print(future)"

    assert mypy_says(tmp_path, line) == ""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("list(as_completed([q.delay(area, 3)]))", "list[concurrent.futures._base.Future[float]]"),
        ("wait([q.delay(area, 3)]).done", "set[concurrent.futures._base.Future[float]]"),
        ("await asyncio.wrap_future(q.delay(area, 3))", "float"),
        ("await asyncio.wait_for(q.delay(area, 3), 1)", "float"),
        ("await asyncio.gather(q.delay(area, 3), q.delay(send, 'x'))", "tuple[float, int]"),
    ],
)
def test_the_standard_library_s_functions_take_a_future(tmp_path: Path, call: str, expected: str) -> None:
    line = f"import asyncio; from concurrent.futures import as_completed, wait; reveal_type({call})"

    assert mypy_says(tmp_path, line).endswith(f'note: Revealed type is "{expected}"\n')


def test_the_stub_of_the_native_core_is_what_the_module_has() -> None:
    # Which classes fix the layout of their instances is left out: older type checkers can't read the decorator for it.
    command = [sys.executable, "-m", "mypy.stubtest", "localq._native", "--concise", "--ignore-disjoint-bases"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)

    assert (answer.stdout, answer.stderr, answer.returncode) == ("", "", 0)
