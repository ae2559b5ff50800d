# SPDX-License-Identifier: MIT
"""A runtime folder of the test's own, so that queues of other tests are not examined with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.queues import gate

__all__ = ["gate"]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LOCALQ_RUNTIME_DIR", str(folder))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return folder
