# SPDX-License-Identifier: MIT
"""A real Jupyter kernel that runs cells, as a notebook in a browser would have it do.

Used by the notebook tests. Imports jupyter_client, which is slow, so nobody else should import this.
"""

from __future__ import annotations

import os
import re
import time
from queue import Empty
from types import TracebackType
from typing import Any, Self

from jupyter_client.manager import KernelManager

from tests.support.scripts import ROOT

WATCHDOG = 40.0  # seconds for one cell


class Cell:
    """What one cell has shown."""

    def __init__(self) -> None:
        self.out = ""
        self.err = ""
        self.displays: list[dict[str, str]] = []  # by kind of content, updates included
        self.error = ""  # the type's name, empty if it ended well
        self.traceback = ""  # as text, without colours
        self.ended = 0.0  # by the monotonic clock

    def take(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            if content["name"] == "stdout":
                self.out += content["text"]
            else:
                self.err += content["text"]
        elif kind in ("display_data", "update_display_data", "execute_result"):
            self.displays.append(content["data"])
        elif kind == "error":
            self.error = content["ename"]
            self.traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
        elif kind == "status" and content["execution_state"] == "idle":
            self.ended = time.monotonic()


class Kernel:
    """One kernel and its client."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self._cells: dict[str, Cell] = {}

    def __enter__(self) -> Self:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WATCHDOG)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)

    def restart(self) -> None:
        """As the button does: another process under the same manager."""
        self.manager.restart_kernel(now=False)

    def start(self, code: str) -> Cell:
        """Have a cell executed; do not wait for its end."""
        cell = self._cells[self.client.execute(code)] = Cell()
        return cell

    def wait(self, cell: Cell, what: str = "the cell has ended") -> Cell:
        """Until it has ended."""
        self.wait_until(lambda: cell.ended, what)
        return cell

    def wait_until(self, condition: Any, what: str) -> None:
        """Take in what cells show until the condition holds."""
        deadline = time.monotonic() + WATCHDOG
        while not condition():
            assert time.monotonic() < deadline, f"not within {WATCHDOG:g} s: {what}"
            self.listen(0.5)

    def listen(self, seconds: float) -> None:
        """Take in one message, if it comes."""
        try:
            message = self.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if cell is not None:
            cell.take(message["msg_type"], message["content"])

    def run(self, code: str) -> Cell:
        """Have a cell executed to its end, well or not."""
        return self.wait(self.start(code))
