# SPDX-License-Identifier: MIT
"""The last line of the screen: a question, a filter that is being typed, what the last deed came to, or the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import FAINT, MARKED, PLAIN, STRONG, fit, flow
from localq.monitor.view import Act

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localq.monitor.screen.paint import Glyphs, Line, Piece
    from localq.monitor.view import Deed, PanelName, View

__all__ = ["footer"]

_QUESTIONS = {
    Act.CANCEL: "Cancel {}?",
    Act.KILL: "Kill the worker of {}?",
    Act.DRAIN: "End {} after its task, and replace it?",
    Act.STACK: "Show the stack of {}?",
}


def footer(view: View, hidden: Sequence[tuple[PanelName, int]], has_tabs: bool, glyphs: Glyphs, width: int) -> Line:
    """`hidden`: the panels that find no room, and how many rows they have."""
    if view.question is not None:
        return _question(view.question, glyphs, width)
    if view.is_typing:
        typed: list[Piece] = [("/", STRONG), (words.clean(view.filter), PLAIN), (" ", MARKED)]
        return flow([(0, typed), (1, _key("enter", "keep")), (1, _key("esc", "drop"))], width, glyphs)
    parts: list[tuple[int, Sequence[Piece]]] = []
    if view.notice:
        parts.append((0, [(words.clean(view.notice), STRONG)]))
    if view.filter:
        parts.append((0, [("only /", FAINT), (words.clean(view.filter), STRONG)]))
    if view.details is not None:
        keys = [
            (1, "esc", "back"),
            (2, "t", "stack"),
            (3, "c", "cancel"),
            (4, "K", "kill"),
            (4, "d", "drain"),
            (5, "arrows", "scroll"),
        ]
        return flow([*parts, *((rank, _key(key, what)) for rank, key, what in keys)], width, glyphs)
    if view.has_help:
        return flow([*parts, (0, _key("esc", "back"))], width, glyphs)
    parts += [(1, _key("q", "quit")), (1, _key("?", "help"))]
    parts += [(2, _key(str(name.value), f"{name.name.lower()} {words.count(rows)}")) for name, rows in hidden]
    if has_tabs:
        parts.append((3, _key("n", "next queue")))
    parts += [
        (3, _key("tab", "panel")),
        (4, _key("enter", "details")),
        (5, _key("/", "filter")),
        (6, _key("s", "sort")),
        (7, _key("p", "pause")),
        (8, _key("c", "cancel")),
        (9, _key("d", "drain")),
        (10, [(f"every {view.interval:g} s", FAINT)]),
    ]
    return flow(parts, width, glyphs, gap=2)


def _key(key: str, what: str) -> list[Piece]:
    return [(key, STRONG), (f" {what}", FAINT)]


def _question(deed: Deed, glyphs: Glyphs, width: int) -> Line:
    asked = _QUESTIONS[deed.act].format(words.clean(deed.about or deed.target))
    answers = "  y yes  n no "
    text = fit([(f" {asked}", "bold reverse")], max(1, width - len(answers)), glyphs)
    return tuple(fit([*((each, "bold reverse") for each, _ in text), (answers, "bold reverse")], width, glyphs))
