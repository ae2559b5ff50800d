# SPDX-License-Identifier: MIT
"""One look at queues, and that is it: printed, or as a picture.

Used by `localq top --once`, `--json` and `--svg`. Each queue is read twice, so that rates are those of just now.
"""

from __future__ import annotations

import io
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from localq.errors import AttachError
from localq.monitor.history import Watched
from localq.monitor.render import Frame, render, report
from localq.monitor.top import glyphs_for
from localq.monitor.view import Scene, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from localq.monitor.watching import Reader

__all__ = ["as_json", "glance", "picture", "show"]

SECONDS = 0.5  # between the two readings
WIDTH = 100  # columns where nothing says how many there are
PICTURE = (120, 36)  # columns and lines

#: Quiet colours for a picture, on a dark ground; the eight that have names.
_GROUND, _INK = (24, 27, 31), (212, 215, 219)
_THEME = TerminalTheme(
    _GROUND,
    _INK,
    [_GROUND, (208, 84, 84), (98, 168, 98), (200, 158, 72), (92, 148, 204), (176, 120, 184), (84, 170, 176), _INK],
)


#: As rich has it, but with fonts that are there, and nothing that is fetched from elsewhere.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{
      font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace;
      font-size: {char_height}px;
      line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font-size: 15px; font-family: sans-serif; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
  </g>
</svg>
"""


def glance(
    names: Sequence[str], reach: Callable[[str], Reader], must: bool, seconds: float = SECONDS
) -> tuple[Watched, ...]:
    """Read them, all over the same time. `must`: raise AttachError when one is not there; else it is left out."""
    with ExitStack() as stack:
        readers: list[tuple[str, Reader]] = []
        found: dict[str, Watched] = {}
        for name in names:
            try:
                readers.append((name, stack.enter_context(closing(reach(name)))))
            except AttachError:
                if must:
                    raise
        for last in (False, True):
            for name, reader in readers:
                try:
                    found[name] = found.get(name, Watched(name)).read(reader.read())
                except AttachError:  # it ended meanwhile: what was read of it is what there is
                    if name not in found and must:
                        raise
            if not last and found:
                time.sleep(seconds)
    return tuple(found.values())


def as_json(queues: Sequence[Watched]) -> str:
    """A list, with the latest Snapshot of each."""
    return msgspec.json.format(msgspec.json.encode([watched.latest for watched in queues]), indent=2).decode()


def show(queues: Sequence[Watched], console: Console | None = None) -> None:
    """Print them below each other, as wide as the terminal, on stdout or that console."""
    out = console or Console(highlight=False)
    width = out.width if out.is_terminal or "COLUMNS" in out._environ else WIDTH
    for number, watched in enumerate(queues):
        if number:
            out.print()
        frame = report(Scene((watched,), View(), time.time()), width, glyphs_for(out.encoding))
        if out.is_terminal:
            out.print(frame, end="")
        else:
            for line in frame.text:
                out.print(line.rstrip(), markup=False, highlight=False, emoji=False, soft_wrap=True)


def picture(queues: Sequence[Watched], path: str, size: tuple[int, int] = PICTURE, view: View | None = None) -> None:
    """One screen as an SVG file."""
    drawn: Frame = render(Scene(tuple(queues), view or View(), time.time()), *size)
    console = Console(record=True, width=size[0], file=io.StringIO(), force_terminal=True, color_system="256")
    console.print(drawn, end="")
    console.save_svg(path, title="localq top", theme=_THEME, code_format=_SVG)
