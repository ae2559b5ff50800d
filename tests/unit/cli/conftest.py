# SPDX-License-Identifier: MIT
"""A runtime folder of the test's own, so that queues of other tests are not examined with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.queues import gate

__all__ = ["gate"]


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not below tmp_path, which is too long for the address of a socket when tests run side by side.
    with tempfile.TemporaryDirectory(prefix="localq-cli-") as folder:
        monkeypatch.setenv("LOCALQ_RUNTIME_DIR", folder)
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        yield Path(folder)
