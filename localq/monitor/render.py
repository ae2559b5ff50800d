# SPDX-License-Identifier: MIT
"""Frames of `localq top`: a pure function from what was read and what is looked at to lines of an exact size.

Used by the live program, by `--once` and by `--svg`. No clock, no terminal, no queue. A Frame is a renderable for rich.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from localq.monitor.screen.details import details
from localq.monitor.screen.footer import footer
from localq.monitor.screen.header import header
from localq.monitor.screen.help import help_lines
from localq.monitor.screen.paint import ASCII, FAINT, PLAIN, UNICODE, Glyphs, fit
from localq.monitor.screen.panel import entries_of, lines_of, rows_wanted
from localq.monitor.screen.panels import PANELS
from localq.monitor.view import PanelName, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from localq.monitor.history import Watched
    from localq.monitor.screen.paint import Line
    from localq.monitor.screen.panel import Panel

__all__ = ["ASCII", "UNICODE", "Frame", "escaped", "render", "report"]

TWO_COLUMNS = 160  # cells from which panels stand side by side
AIRY = 36  # lines from which one may stay empty
LEAST_ROWS = 2  # of a panel, if it has as many: with fewer it is not worth its title
MOST_ROWS = 20  # of a panel in a report

#: Who gets room first, when there is not enough.
_IMPORTANCE = (
    PanelName.WORKERS,
    PanelName.TASKS,
    PanelName.QUEUES,
    PanelName.FAILURES,
    PanelName.FUNCTIONS,
    PanelName.LOG,
)
_LEFT = (PanelName.QUEUES, PanelName.WORKERS, PanelName.FUNCTIONS)


class Frame(msgspec.Struct, frozen=True):
    """Lines of the same width, each of pieces of text with a style."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> tuple[str, ...]:
        """Without styles."""
        return tuple("".join(text for text, _ in line) for line in self.lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            for text, style in line:
                yield Segment(text, _style(style))
            yield Segment.line()


def render(scene: Scene, width: int, height: int, glyphs: Glyphs = UNICODE) -> Frame:
    """One screen, exactly that wide and high."""
    view, watched = scene.view, scene.shown
    lines = header(scene, glyphs, width, height)[: max(0, height - 1)]
    if height >= AIRY:
        lines.append(_blank(width, glyphs))
    room = max(0, height - len(lines) - 1)
    hidden: list[tuple[PanelName, int]] = []
    if view.has_help:
        lines += help_lines(glyphs, width, room)
    elif watched is None or watched.latest is None:
        lines += [_blank(width, glyphs)] * room
    elif view.details is not None:
        lines += details(watched, view, scene.now, glyphs, width, room)
    elif width >= TWO_COLUMNS:
        lines += _beside(watched, scene, glyphs, width, room)
    else:
        heights = _shares(PANELS.values(), watched, scene, room)
        lines += _stack(heights, watched, scene, glyphs, width, room)
        hidden = [
            (panel.name, len(entries_of(panel, watched.latest, view)))
            for panel in PANELS.values()
            if panel.name not in heights
        ]
    lines.append(footer(view, hidden, len(scene.queues) > 1, glyphs, width))
    return Frame(tuple(lines[-height:] if height else ()))


def report(scene: Scene, width: int, glyphs: Glyphs = UNICODE) -> Frame:
    """All panels below each other, as high as need be: for a file, a pipe or a look in passing."""
    lines = header(scene, glyphs, width, 100)
    watched = scene.shown
    if watched is not None and watched.latest is not None:
        for panel in PANELS.values():
            rows = rows_wanted(panel, watched, scene.view)
            lines += lines_of(panel, watched, scene.view, scene.now, glyphs, width, 1 + min(rows, MOST_ROWS))
    return Frame(tuple(lines))


def _blank(width: int, glyphs: Glyphs) -> Line:
    return tuple(fit([], width, glyphs))


def _beside(watched: Watched, scene: Scene, glyphs: Glyphs, width: int, room: int) -> list[Line]:
    """What there is at the left, what happens at the right."""
    at_left = (width - 3) * 11 // 20
    sides: list[list[Line]] = []
    for is_left, wide in ((True, at_left), (False, width - 3 - at_left)):
        panels = [panel for panel in PANELS.values() if (panel.name in _LEFT) is is_left]
        sides.append(_stack(_shares(panels, watched, scene, room), watched, scene, glyphs, wide, room))
    between = ((" ", PLAIN), (glyphs.between, FAINT), (" ", PLAIN))
    return [(*left, *between, *right) for left, right in zip(*sides, strict=True)]


def _shares(panels: Iterable[Panel], watched: Watched, scene: Scene, room: int) -> dict[PanelName, int]:
    """How many lines each panel gets, its title among them: the focused one first; those that get none are left out."""
    wanted = {panel.name: 1 + rows_wanted(panel, watched, scene.view) for panel in panels}
    order = sorted(wanted, key=lambda name: (name != scene.view.panel, _IMPORTANCE.index(name)))
    shares: dict[PanelName, int] = {}
    for name in order:
        least = min(wanted[name], 1 + LEAST_ROWS)
        if least <= room or (not shares and room):
            shares[name] = min(least, room)
            room -= shares[name]
    if scene.view.panel in shares:  # at least half of what is left, before the others grow
        room -= _grow(shares, wanted, [scene.view.panel], (room + 1) // 2)
    while room > 0:  # line by line, so that nobody starves
        grown = 0
        for name in order:
            grown += _grow(shares, wanted, [name] if name in shares else [], min(1, room - grown))
        if not grown:
            break
        room -= grown
    return shares


def _grow(shares: dict[PanelName, int], wanted: dict[PanelName, int], names: Sequence[PanelName], most: int) -> int:
    grown = 0
    for name in names:
        more = max(0, min(most, wanted[name] - shares[name]))
        shares[name] += more
        grown += more
    return grown


def _stack(
    shares: dict[PanelName, int], watched: Watched, scene: Scene, glyphs: Glyphs, width: int, room: int
) -> list[Line]:
    lines: list[Line] = []
    for panel in PANELS.values():
        if panel.name in shares:
            lines += lines_of(panel, watched, scene.view, scene.now, glyphs, width, shares[panel.name])
    return [*lines, *[_blank(width, glyphs)] * (room - len(lines))]


# --- for terminals --------------------------------------------------------------------------------------------------

_SYSTEMS = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}


def escaped(line: Line, colors: str | None) -> str:
    """A line as a terminal takes it, with which the rest of its line becomes blank. `colors`: what rich calls the
    terminal's colour system; None for none, which leaves bold, faint and reversed."""
    system = _SYSTEMS.get(colors or "", ColorSystem.STANDARD)
    pieces = list(line)
    is_short = False
    while pieces and "reverse" not in pieces[-1][1]:
        text, style = pieces.pop()
        kept = text.rstrip(" ")
        is_short = is_short or kept != text
        if kept:
            pieces.append((kept, style))
            break
    written = []
    for text, name in pieces:
        look = _style(name) if colors else _style(name).without_color
        written.append(look.render(text, color_system=system))
    # Only where something is left: at the last column it would clear what was written there.
    return "".join(written) + ("\x1b[0m\x1b[K" if is_short else "")


@lru_cache(maxsize=64)
def _style(name: str) -> Style:
    return Style.parse(name)
