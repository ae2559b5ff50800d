# SPDX-License-Identifier: MIT
"""Styles, symbols, bars and sparklines: what things look like, on dark and light ground, with and without colours.

Used by the parts of the screen. A colour never says anything alone: a symbol or a word beside it says the same.

A line is a tuple of pieces (text, style), a style a string of rich's. The colours are of middling lightness, so that
each can be read on black and on white, and of the 256 that terminals rarely redefine; grey is left to the terminal
("dim").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from rich.cells import cell_len, set_cell_size

from localq.monitor.screen.words import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Piece = tuple[str, str]
    Line = tuple[Piece, ...]

__all__ = [
    "ACCENT",
    "ASCII",
    "BAD",
    "COLOURS",
    "FAINT",
    "GOOD",
    "MARKED",
    "NOTED",
    "PLAIN",
    "STRONG",
    "UNICODE",
    "WARNING",
    "Glyphs",
    "bar",
    "cut",
    "fit",
    "flow",
    "named",
    "sparkline",
    "width_of",
]

PLAIN = ""
FAINT = "dim"
STRONG = "bold"
MARKED = "reverse"
GOOD = "color(28)"
NOTED = "color(133)"
WARNING = "color(136)"
BAD = "bold color(160)"
ACCENT = "color(31)"
_SEPARATOR = re.compile("[.:]")
COLOURS = (GOOD, NOTED, WARNING, BAD, ACCENT)


class Glyphs(msgspec.Struct, frozen=True, kw_only=True):
    """The characters beyond letters. `fill`: of bars, by priority, the most urgent first."""

    good: str
    bad: str
    warning: str
    running: str
    idle: str
    starting: str
    stopped: str
    dead: str
    marker: str
    rule: str
    strong_rule: str
    between: str
    done: str
    left: str
    levels: str
    fill: str
    ellipsis: str
    falling: str
    rising: str
    dot: str


UNICODE = Glyphs(
    good="✓",
    bad="✗",
    warning="!",
    running="●",
    idle="○",
    starting="◌",
    stopped="‖",
    dead="✗",
    marker="▸",
    rule="─",
    strong_rule="━",
    between="│",
    done="━",
    left="─",
    levels="▁▂▃▄▅▆▇█",
    fill="█▓▒░",
    ellipsis="…",
    falling="▾",
    rising="▴",
    dot="·",
)
ASCII = Glyphs(
    good="+",
    bad="x",
    warning="!",
    running="*",
    idle=".",
    starting="~",
    stopped="|",
    dead="x",
    marker=">",
    rule="-",
    strong_rule="=",
    between="|",
    done="#",
    left="-",
    levels="_.:-=+*#",
    fill="#%=-",
    ellipsis="~",
    falling="v",
    rising="^",
    dot="-",
)


def width_of(pieces: Iterable[Piece]) -> int:
    """In cells of the terminal."""
    return sum(len(text) if text.isascii() else cell_len(text) for text, _ in pieces)


def cut(pieces: Sequence[Piece], width: int, glyphs: Glyphs) -> list[Piece]:
    """As much of them as fits, with an ellipsis where something was left out."""
    if width_of(pieces) <= width:
        return list(pieces)
    room = width - 1
    kept: list[Piece] = []
    for text, style in pieces:
        wide = len(text) if text.isascii() else cell_len(text)
        if wide > room:
            kept.append((set_cell_size(text, room) if room > 0 else "", style))
            break
        kept.append((text, style))
        room -= wide
    if width > 0:
        kept.append((glyphs.ellipsis, FAINT))
    return kept


def fit(pieces: Sequence[Piece], width: int, glyphs: Glyphs, right: bool = False) -> list[Piece]:
    """Exactly that wide."""
    kept = cut(pieces, width, glyphs)
    blank = (" " * (width - width_of(kept)), PLAIN)
    if not blank[0]:
        return kept
    return [blank, *kept] if right else [*kept, blank]


def flow(parts: Iterable[tuple[int, Sequence[Piece]]], width: int, glyphs: Glyphs, gap: int = 3) -> Line:
    """Parts side by side, as many as fit: the one with the highest rank goes first, of equals the last."""
    kept = [(rank, at, part) for at, (rank, part) in enumerate(parts) if part]
    while len(kept) > 1 and 1 + sum(width_of(part) + gap for _, _, part in kept) - gap > width:
        kept.remove(max(kept, key=lambda each: each[:2]))
    pieces: list[Piece] = [(" ", PLAIN)]
    for number, (_, _, part) in enumerate(kept):
        pieces += [(" " * gap, PLAIN), *part] if number else part
    return tuple(fit(pieces, width, glyphs))


def named(function: str, width: int, style: str = PLAIN) -> list[Piece]:
    """A function's name; without the beginning of its path where that leaves no room for what tells it from others."""
    name = clean(function)
    while width_of([(name, style)]) > width:
        rest = _SEPARATOR.split(name, maxsplit=1)
        if len(rest) < 2 or not rest[1]:
            break
        name = rest[1]
    return [(name, style)]


def bar(share: float, width: int, glyphs: Glyphs, style: str = ACCENT) -> list[Piece]:
    """A line of which that share, 0 to 1, is strong. What is more than nothing shows, and only all is full."""
    share = min(max(share, 0.0), 1.0)
    filled = round(share * width)
    if width > 1:
        filled = max(filled, 1) if share > 0 else 0
        filled = min(filled, width - 1) if share < 1 else width
    return [(glyphs.done * filled, style), (glyphs.left * (width - filled), FAINT)]


def sparkline(values: Sequence[float | None], width: int, glyphs: Glyphs, style: str = ACCENT) -> list[Piece]:
    """The last values, one a character, from zero to the highest of them; blank where there is none."""
    shown = values[-width:] if width > 0 else ()
    most = max((value for value in shown if value is not None), default=0.0)
    levels = glyphs.levels
    drawn = "".join(
        " "
        if value is None
        else levels[min(int(value / most * len(levels)), len(levels) - 1)]
        if most > 0
        else levels[0]
        for value in shown
    )
    return [(" " * (width - len(shown)), PLAIN), (drawn, style)]
