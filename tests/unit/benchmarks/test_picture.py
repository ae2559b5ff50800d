# SPDX-License-Identifier: MIT
"""The README's picture comes from a queue that runs, and can be shown anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

from tests.support.scripts import ROOT, WATCHDOG


def test_the_picture_shows_a_real_run_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pictures" / "top.svg"
    command = [sys.executable, "-m", "benchmarks.picture", str(path), "--seconds", "2"]

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG, env=dict(os.environ))

    assert (answer.returncode, answer.stderr) == (0, "")
    drawn = path.read_text()
    words = "".join(xml.etree.ElementTree.fromstring(drawn).itertext()).replace("\xa0", " ")
    for expected in ("thumbnails", "of 6 busy", "train_faces", "resize_image", "nightly"):
        assert expected in words
    assert re.findall(r"https?://\S+", drawn.replace("http://www.w3.org/", "")) == []
    assert str(ROOT) not in drawn
