# SPDX-License-Identifier: MIT
"""Every example runs, from a folder of its own, and what it prints is true."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import localq

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

#: file: (text, lines, identifiers); three of them have the same text
TREE = {
    "one.py": ("alpha = beta\n", 1, 2),
    "pack/two.py": ("# nothing\n\ndef alpha(beta):\n    return beta\n", 4, 3),
    "pack/deep/three.py": ("alpha = beta\n", 1, 2),
    "other/empty.py": ("", 0, 0),
    "other/four.py": ("alpha = beta\n", 1, 2),
}
BROKEN = "pack/broken.py"


def run(cwd: Path, example: str, *args: str | Path) -> str:
    """Run an example with the `localq` that is tested here; what it printed. Raises when it does not exit with 0."""
    environment = os.environ | {"PYTHONPATH": str(Path(localq.__file__).parent.parent), "COLUMNS": "120"}
    finished = subprocess.run(
        [sys.executable, EXAMPLES / example, *args],
        cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, (text, _lines, _identifiers) in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "tree" / BROKEN).write_text("def (:\n  '''never closed\n")
    (tmp_path / "tree" / "site-packages").mkdir()
    (tmp_path / "tree" / "site-packages" / "foreign.py").write_text("not_ours = 1\n")
    return tmp_path / "tree"


def test_every_example_is_in_the_index_and_is_tested_here() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    index, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()

    assert set(re.findall(r"\]\((\w+\.py)\)", index)) == names
    assert [name for name in names if f'"{name}"' not in tests] == []


def test_index_source_counts_what_is_there_and_survives_a_broken_file(tree: Path, tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, "index_source.py", tree, "--workers", "2", "--json"))

    assert found["total"]["files"] == len(TREE)
    assert found["total"]["lines"] == sum(lines for _text, lines, _identifiers in TREE.values())
    assert {name: row["files"] for name, row in found["folders"].items()} == {".": 1, "pack": 2, "other": 2}
    assert found["identifiers"] == {"alpha": 4, "beta": 5}
    assert sum(found["identifiers"].values()) == sum(count for _text, _lines, count in TREE.values())
    assert found["copies"] == len(TREE) - len({hashlib.sha256(text.encode()).digest() for text, _, _ in TREE.values()})
    assert list(found["failed"]) == [BROKEN]
    assert "Error: " in found["failed"][BROKEN]
    assert found["seconds"] > 0


def test_index_source_shows_a_table_the_broken_file_and_the_gain(tree: Path, tmp_path: Path) -> None:
    shown = run(tmp_path, "index_source.py", tree)

    assert re.search(r"pack\W+2\W+5\W+\d+", shown), shown
    assert re.search(r"all 3\W+5\W+7\W+\d+", shown), shown
    assert "2 files are copies of others; 1 could not be read:" in shown
    assert re.search(rf"  {BROKEN}: \w+Error: ", shown), shown
    assert re.search(r"times faster$", shown.rstrip()), shown


def test_index_source_of_an_empty_tree_says_so(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no Python file in"):
        run(tmp_path, "index_source.py", tmp_path)


def test_stream_lines_counts_every_line(tmp_path: Path) -> None:
    before = set(os.listdir(tmp_path))

    shown = run(tmp_path, "stream_lines.py", "--megabytes", "0.2", "--workers", "2")

    answered, written = (
        int(number.replace(",", "")) for number in re.findall(r"^([\d,]+) of ([\d,]+) lines", shown)[0]
    )
    counts = {kind: int(number.replace(",", "")) for kind, number in re.findall(r"(\dxx): ([\d,]+)", shown)}
    assert answered == written > 3000
    assert set(counts) == {"2xx", "3xx", "4xx", "5xx"}
    assert sum(counts.values()) == written
    assert re.search(r"peak memory of this process: \d+ MB, \d+ MB of it before", shown), shown
    assert set(os.listdir(tmp_path)) == before


def test_async_service_answers_every_request_and_keeps_its_loop_free(tmp_path: Path) -> None:
    shown = run(tmp_path, "async_service.py", "--requests", "5")

    assert re.findall(r"^request (\d): 'the' 2400 times$", shown, re.MULTILINE) == list("01234")
    assert "texts per length: [3, 5, 6]" in shown
    assert "given up after 0.1 s" in shown
    assert int(re.findall(r"its turn ([\d,]+) times", shown)[0].replace(",", "")) > 100


def test_progress_bar_tells_of_each_range_and_counts_all_primes(tmp_path: Path) -> None:
    shown = run(tmp_path, "progress_bar.py", "--ranges", "3", "--size", "10000")

    assert "3,245 primes below 30,000, in 3 ranges" in shown
    assert sorted(re.findall(r"^range (\d): \w+, 100 %$", shown, re.MULTILINE)) == list("012")


def test_executor_swap_finds_the_same_with_both_and_survives_a_crash(tmp_path: Path) -> None:
    shown = run(tmp_path, "executor_swap.py", "--tasks", "40", "--points", "50")

    found = dict(re.findall(r"^(\w+): pi is about (\d\.\d+), found in", shown, re.MULTILINE))
    assert set(found) == {"ProcessPoolExecutor", "LocalExecutor"}
    assert found["ProcessPoolExecutor"] == found["LocalExecutor"]
    assert 2.5 < float(found["LocalExecutor"]) < 3.8
    assert "WorkerCrashed: task" in shown
    assert shown.endswith("and the executor lives on\n")


def test_peak_memory_is_told_after_the_program_and_with_its_exit_status(tmp_path: Path) -> None:
    program = "import time; held = b'x' * 50_000_000; time.sleep(0.5); print('held')"
    shown = run(tmp_path, "peak_memory.py", sys.executable, "-c", program)

    held, peak = shown.splitlines()
    assert held == "held"
    assert 50 < float(re.findall(r"^peak memory, processes together: (\d+) MB in \d\.\d s$", peak)[0]) < 150

    with pytest.raises(AssertionError, match="peak memory"):
        run(tmp_path, "peak_memory.py", sys.executable, "-c", "raise SystemExit(3)")


def both_alike_with_their_memory(shown: str) -> None:
    """localq and the executor found the same, and each said what it took."""
    found = dict(re.findall(r"^(\w+): (.+)$", shown, re.MULTILINE))
    assert set(found) == {"localq", "executor"}
    assert found["localq"] == found["executor"]
    assert len(re.findall(r"^peak memory, processes together: \d+ MB in \S+ s$", shown, re.MULTILINE)) == 2


def test_blur_images_finds_the_same_with_both(tmp_path: Path) -> None:
    shown = run(tmp_path, "blur_images.py", "--images", "5", "--pixels", "200")

    both_alike_with_their_memory(shown)
    least, most = map(float, re.findall(r"from (\S+) to (\S+)$", shown, re.MULTILINE)[0])
    assert 0.2 < least < 0.5 < most < 0.8


@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="pandas is not installed")
def test_group_frame_finds_the_same_with_both(tmp_path: Path) -> None:
    shown = run(tmp_path, "group_frame.py", "--rows", "20000")

    both_alike_with_their_memory(shown)
    assert "18 answers" in shown
