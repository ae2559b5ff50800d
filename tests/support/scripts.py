# SPDX-License-Identifier: MIT
"""Whole programs that use localq, as users run them: a file, executed by a Python of its own.

Used where the end of the interpreter, `__main__`, a fork or a signal is what is tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
WATCHDOG = 30.0  # seconds; the longest program takes one or two


def start_script(folder: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    """Write `text` to a file in `folder` and execute it as the leader of a process group of its own."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def run_script(folder: Path, text: str, *arguments: str) -> str:
    """Execute `text` to its end; what it printed. It must end well and say nothing on stderr."""
    with start_script(folder, text, *arguments) as process:
        try:
            out, err = process.communicate(timeout=WATCHDOG)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"the program did not end; it said:\n{out}\n{err}") from None
    assert (process.returncode, err) == (0, ""), f"exit status {process.returncode}:\n{out}\n{err}"
    return out
