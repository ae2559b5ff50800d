# SPDX-License-Identifier: MIT
"""The notebook among the examples runs from top to bottom, and what it shows is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.scripts import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "examples" / "batch_job.ipynb"

#: In a process of its own: what Jupyter opens and keeps is then none of ours.
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=50, resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[3])
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The code cells, with what they showed."""
    folder = tmp_path_factory.mktemp("notebook")
    finished = subprocess.run(
        [sys.executable, "-c", EXECUTE, NOTEBOOK, folder, folder / "done.ipynb"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert finished.returncode == 0, finished.stderr
    done = json.loads((folder / "done.ipynb").read_text())
    return [cell for cell in done["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def displayed(cell: dict[str, Any], kind: str) -> list[str]:
    return ["".join(output["data"][kind]) for output in cell["outputs"] if kind in output.get("data", {})]


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]

    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_the_queue_and_the_bars_are_shown(cells: list[dict[str, Any]]) -> None:
    start, make, measure, *_ = cells

    assert displayed(start, "text/html")[0].startswith("<table>")
    for cell in (make, measure):
        assert "96/96" in displayed(cell, "text/plain")[0]
    assert displayed(make, "text/plain")[-1] == "'96 images, 13 MB'"


def test_failures_are_collected_and_what_their_tasks_printed_is_counted(cells: list[dict[str, Any]]) -> None:
    _, _, measure, failed, *_ = cells

    assert printed(measure) == "measure | a broken image\nmeasure | a broken image ... repeated 5 times\n"
    assert printed(failed) == "".join(f"{number} 128 pixels are missing\n" for number in range(7, 96, 16))


def test_the_summary_counts_all_of_them(cells: list[dict[str, Any]]) -> None:
    first, second = printed(cells[-1]).splitlines()

    assert first == "96 discs, 6 from broken images"
    low, high, mean = map(int, re.findall(r"\d+", second))
    assert 0 < low < mean < high < 128 * 128
