# SPDX-License-Identifier: MIT
"""The panel of queues: how many tasks wait in each, by priority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import ACCENT, FAINT, NOTED, PLAIN, WARNING
from localq.monitor.screen.panel import Column, Panel
from localq.monitor.view import PanelName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from localq.monitor.screen.paint import Piece
    from localq.monitor.screen.panel import Setting
    from localq.monitor.snapshot import Depths, Snapshot

__all__ = ["QUEUES"]

LEAST_SCALE = 20  # tasks in a full bar, at least: a few that wait for a moment are no mountain

_PRIORITIES = (("critical", NOTED), ("high", WARNING), ("normal", ACCENT), ("low", PLAIN))


def _title(snapshot: Snapshot) -> str:
    return f"{words.count(snapshot.queued)} queued" + (
        f", {words.count(snapshot.delayed)} later" if snapshot.delayed else ""
    )


def _name(depths: Depths, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.clean(depths.queue), PLAIN)]


def _bar(depths: Depths, setting: Setting, width: int) -> Sequence[Piece]:
    """As long as the queue is deep, beside the deepest that is remembered; each priority in a shade of its own."""
    scale = max(setting.deepest, depths.total, LEAST_SCALE)
    pieces: list[Piece] = []
    left = width if depths.total == scale else width - 1
    for (name, style), shade in zip(_PRIORITIES, setting.glyphs.fill, strict=True):
        number = getattr(depths, name)
        length = min(left, max(1, round(number / scale * width))) if number else 0
        left -= length
        pieces.append((shade * length, style))
    pieces.append((setting.glyphs.dot, FAINT) if not depths.total else ("", PLAIN))
    return pieces


def _number(name: str, style: str) -> Callable[[Depths, Setting, int], Sequence[Piece]]:
    def cell(depths: Depths, setting: Setting, width: int) -> Sequence[Piece]:
        number = getattr(depths, name)
        return [(words.count(number), style if number else FAINT)]

    return cell


def _by(name: str) -> Callable[[Depths], int]:
    return lambda depths: int(getattr(depths, name))


QUEUES = Panel(
    name=PanelName.QUEUES,
    title=_title,
    entries=lambda snapshot: snapshot.depths,
    key=lambda depths: depths.queue,
    words=lambda depths: depths.queue,
    nothing="no queue",
    columns=(
        Column(head="queue", width=10, cell=_name, grow=1, sort=lambda depths: depths.queue, falling=False),
        Column(head="", width=8, cell=_bar, grow=4),
        Column(head="queued", width=6, cell=_number("total", PLAIN), right=True, sort=_by("total")),
        *(
            Column(head=name, width=8, cell=_number(name, style), right=True, sort=_by(name), rank=rank)
            for (name, style), rank in zip(_PRIORITIES, (1, 2, 3, 4), strict=True)
        ),
    ),
)
