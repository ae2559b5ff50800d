# SPDX-License-Identifier: MIT
"""What the keys do, and what the symbols mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen.paint import FAINT, PLAIN, STRONG, fit

if TYPE_CHECKING:
    from localq.monitor.screen.paint import Glyphs, Line

__all__ = ["help_lines"]

_KEYS = (
    ("q, Ctrl-C", "quit"),
    ("tab, 1 to 6", "another panel: queues, workers, functions, tasks, failures, log"),
    ("arrows, j, k", "choose a row; page up and down, home, end"),
    ("enter", "all about that row; esc: back"),
    ("s, r", "sort by the next column; the other way round"),
    ("/", "show only rows that have these letters in them; esc: all"),
    ("p, space", "pause the display; the queue goes on"),
    ("t", "the stack of a worker, of the task in its hands"),
    ("c", "cancel a task (asks first)"),
    ("K", "kill a task with its worker, without grace (asks first)"),
    ("d", "end a worker after its task, and replace it (asks first)"),
    ("n, N", "the next queue, the one before"),
    ("+, -", "look more often, less often"),
    ("Ctrl-L", "draw the screen anew"),
)


def help_lines(glyphs: Glyphs, width: int, height: int) -> list[Line]:
    """Exactly that wide and high; what finds no room is left out."""
    lines: list[Line] = [tuple(fit([(f"{glyphs.strong_rule} ", FAINT), ("keys", STRONG)], width, glyphs))]
    for key, what in _KEYS:
        lines.append(tuple(fit([(f"  {key:<13}", STRONG), (what, PLAIN)], width, glyphs)))
    shades = zip(glyphs.fill, ("critical", "high", "normal", "low"), strict=True)
    signs = (
        (
            "workers",
            (
                (glyphs.running, "running"),
                (glyphs.idle, "idle"),
                (glyphs.starting, "starting"),
                (glyphs.stopped, "stopped"),
                (glyphs.dead, "dead"),
            ),
        ),
        ("queued", tuple(shades)),
    )
    for name, meanings in signs:
        said = "   ".join(f"{sign} {meaning}" for sign, meaning in meanings)
        lines.append(tuple(fit([(f"  {name:<13}", STRONG), (said, PLAIN)], width, glyphs)))
    said = "p50 3ms: half took at most 3 ms; those of run and wait since the last look"
    lines.append(tuple(fit([("  figures      ", STRONG), (said, PLAIN)], width, glyphs)))
    return [*lines, *[tuple(fit([], width, glyphs))] * height][:height]
