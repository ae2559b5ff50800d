# SPDX-License-Identifier: MIT
"""The models of the native core's protocols hold, and notice when one rule of theirs is broken.

`native/model/check.py` is run as a developer runs it, at its small bound: once for each model, once for each control.
The large bound takes minutes and is for whoever changes a protocol.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parent.parent.parent / "native" / "model" / "check.py"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(CHECK), *arguments], capture_output=True, text=True)


def names() -> list[tuple[str, str]]:
    """Model and control, as `--list` tells them: a line for each model, then its controls, which are indented."""
    listed = check("--list")
    assert listed.returncode == 0, listed.stderr
    found = []
    model = ""
    for line in listed.stdout.splitlines():
        if line.startswith(" "):
            found.append((model, line.split()[0]))
        else:
            model = line.strip()
    return found


CONTROLS = names()


@pytest.mark.slow
@pytest.mark.timeout(300)  # some seconds of work, all of it computing: minutes where others compute as well
@pytest.mark.parametrize("model", dict(CONTROLS))
def test_model_holds(model):
    finished = check("--only", model, "--what", "models")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("ok ") > 1


@pytest.mark.slow
@pytest.mark.parametrize(("model", "control"), CONTROLS)
def test_control_is_caught(model, control):
    finished = check("--only", model, "--variant", control, "--trace")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"{control}: caught after " in finished.stdout
    assert "\n      1  " in finished.stdout, "it shows how, from the first step"


def test_a_model_that_fails_fails_the_check(tmp_path):
    for source in CHECK.parent.glob("*.py"):
        text = source.read_text()
        if source.name == "parts.py":
            assert "return tail - head >= self.size" in text
            text = text.replace("return tail - head >= self.size", "return False")
        (tmp_path / source.name).write_text(text)

    command = [sys.executable, str(tmp_path / "check.py"), "--only", "ring", "--what", "models"]
    finished = subprocess.run(command, capture_output=True, text=True)

    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "a cell is overwritten before it was passed" in finished.stdout
    assert "ring_push:written" in finished.stdout


def test_a_control_of_an_unknown_name_is_an_error():
    assert check("--variant", "no_such_rule").returncode == 2
