# SPDX-License-Identifier: MIT
"""A panel: a title, columns, and rows in some order, as many as there is room for.

Used by the renderer and, for the order of the rows, by `localq.monitor.steering`. What a panel shows is told by its own
file, in a `Panel`; how panels look is told here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from localq.monitor.screen.paint import ACCENT, FAINT, MARKED, PLAIN, STRONG, Glyphs, cut, fit, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.history import Watched
    from localq.monitor.screen.paint import Line, Piece
    from localq.monitor.snapshot import Snapshot
    from localq.monitor.view import PanelName, View

__all__ = ["Column", "Panel", "Setting", "entries_of", "lines_of", "rows_wanted"]

GAP = 2  # cells between columns
LEAST_TITLE = 12


class Setting(msgspec.Struct, frozen=True):
    """What cells may want to know beside their own entry."""

    snapshot: Any  # Snapshot
    deepest: int
    now: float
    glyphs: Glyphs


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column. `width`: its own, or the least when it grows; `grow`: its share of what the others leave; `rank`:
    those with the highest are left out first where it is narrow, 0 never."""

    head: str
    width: int
    cell: Any  # Callable[[entry, Setting, width], Sequence[Piece]]
    rank: int = 0
    grow: int = 0
    right: bool = False
    sort: Any = None  # Callable[[entry], key], where one can sort by it
    falling: bool = True  # the highest first


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """What one panel shows."""

    name: PanelName
    title: Any  # Callable[[Snapshot], str]
    entries: Any  # Callable[[Snapshot], Sequence[entry]], in the panel's own order
    key: Any  # Callable[[entry], str]
    words: Any  # Callable[[entry], str]: what a filter looks at
    columns: tuple[Column, ...]
    nothing: str  # the sentence for no entry


def entries_of(panel: Panel, snapshot: Snapshot, view: View) -> list[Any]:
    """The entries as they are listed: filtered and sorted."""
    entries = list(panel.entries(snapshot))
    if view.filter:
        wanted = view.filter.casefold()
        entries = [entry for entry in entries if wanted in panel.words(entry).casefold()]
    sorting = view.sorting_of(panel.name)
    column = next((each for each in panel.columns if each.head == sorting.column and each.sort), None)
    if column is not None:
        entries.sort(key=column.sort, reverse=column.falling)
    if sorting.is_reversed:
        entries.reverse()
    return entries


def rows_wanted(panel: Panel, watched: Watched, view: View) -> int:
    """Lines below the title with which nothing would be left out."""
    return 1 if watched.latest is None else max(1, len(entries_of(panel, watched.latest, view)))


def lines_of(
    panel: Panel, watched: Watched, view: View, now: float, glyphs: Glyphs, width: int, height: int
) -> list[Line]:
    """The panel, exactly that wide and high: its title and rows."""
    snapshot, history = watched.latest, watched.history
    if snapshot is None or history is None or height < 1:
        return [tuple(fit([], width, glyphs))] * height
    columns, widths = _layout(panel.columns, width - 1)
    entries = entries_of(panel, snapshot, view)
    is_focused = view.panel == panel.name
    first, last = _window(panel, entries, view if is_focused else None, height - 1)
    left_out = _left_out(first, len(entries) - last)
    said = panel.title(snapshot), f"{glyphs.dot} {left_out}" if left_out else ""
    lines = [_title(panel, said, view, columns, widths, is_focused, glyphs, width)]
    if not entries:
        sentence = f"none has {view.filter!r} in it" if view.filter and panel.entries(snapshot) else panel.nothing
        lines.append(tuple(fit([("  ", PLAIN), (sentence, FAINT)], width, glyphs)))
    setting = Setting(snapshot, history.deepest, now, glyphs)
    for entry in entries[first:last]:
        is_selected = is_focused and view.selected == panel.key(entry)
        lines.append(_row(entry, columns, widths, setting, is_selected, width))
    blank = tuple(fit([], width, glyphs))
    return (lines + [blank] * height)[:height]


def _window(panel: Panel, entries: Sequence[Any], view: View | None, height: int) -> tuple[int, int]:
    """Which of them to show: the first, or those around the selected one."""
    if len(entries) <= height or height < 1:
        return 0, min(len(entries), max(height, 0))
    selected = 0
    if view is not None and view.selected:
        selected = next((at for at, entry in enumerate(entries) if panel.key(entry) == view.selected), 0)
    first = max(0, min(selected - height // 2, len(entries) - height))
    return first, first + height


def _left_out(above: int, below: int) -> str:
    if above:
        return f"{above:,} above, {below:,} below"
    return f"and {below:,} more" if below else ""


def _layout(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """Those that fit, and how wide they are."""
    kept = list(columns)

    def needed() -> int:
        return sum(column.width for column in kept) + GAP * (len(kept) - 1)

    while needed() > width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    spare, shares = max(0, width - needed()), sum(column.grow for column in kept)
    widths = [column.width + (spare * column.grow // shares if shares else 0) for column in kept]
    if shares:  # what rounding left
        grows = [at for at, column in enumerate(kept) if column.grow]
        widths[grows[-1]] += max(0, width - sum(widths) - GAP * (len(kept) - 1))
    over = sum(widths) + GAP * (len(kept) - 1) - width
    for at in sorted(range(len(kept)), key=lambda at: -widths[at]):  # narrower than anything was made for
        taken = min(max(over, 0), widths[at] - 1)
        widths[at] -= taken
        over -= taken
    return kept, widths


def _title(
    panel: Panel,
    said: tuple[str, str],
    view: View,
    columns: Sequence[Column],
    widths: Sequence[int],
    is_focused: bool,
    glyphs: Glyphs,
    width: int,
) -> Line:
    """The panel's title at the left, and the heads of the columns that begin behind it, on a rule."""
    rule = glyphs.strong_rule if is_focused else glyphs.rule
    edge = ACCENT if is_focused else FAINT
    name = f" {panel.name.value} {panel.name.name.lower()}"
    pieces: list[Piece] = [(rule, edge), (name, STRONG if is_focused else PLAIN)]
    pieces += [(f" {text}", style) for text, style in zip(said, (FAINT, PLAIN), strict=True) if text]
    pieces = cut(pieces, max(0, width - 1), glyphs)
    end, at = width_of(pieces), 1
    sorting = view.sorting_of(panel.name)
    for column, wide in zip(columns, widths, strict=True):
        is_sorted = bool(sorting.column) and sorting.column == column.head
        falling = column.falling != sorting.is_reversed
        head = column.head + ((glyphs.falling if falling else glyphs.rising) if is_sorted else "")
        start = at + wide - len(head) if column.right else at
        if head and end < start and start + len(head) <= width:
            pieces += [(_gap(start - end, rule), edge), (head, STRONG if is_sorted else FAINT)]
            end = start + len(head)
        at += wide + GAP
    if end < width:
        pieces.append(((" " + rule * (width - end))[: width - end], edge))
    return tuple(pieces)


def _gap(width: int, rule: str) -> str:
    """Between two words on a rule."""
    return " " * width if width < 3 else f" {rule * (width - 2)} "


def _row(
    entry: Any, columns: Sequence[Column], widths: Sequence[int], setting: Setting, is_selected: bool, width: int
) -> Line:
    pieces: list[Piece] = [(setting.glyphs.marker if is_selected else " ", PLAIN)]
    for number, (column, wide) in enumerate(zip(columns, widths, strict=True)):
        if number:
            pieces.append((" " * GAP, PLAIN))
        pieces += fit(column.cell(entry, setting, wide), wide, setting.glyphs, column.right)
    pieces = fit(pieces, width, setting.glyphs)
    if is_selected:
        pieces = [(text, MARKED) for text, _ in pieces]
    return tuple(pieces)
