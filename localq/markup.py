# SPDX-License-Identifier: MIT
"""Small tables for notebooks: what a cell shows when its last line is a queue, a future or a result.

Used by their `_repr_html_`. On the ground floor, as one of them is. Whatever stands in a table is escaped and short.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["seconds", "shown", "table"]

MOST_CHARACTERS = 200  # of one value; the rest is what printing it is for

_CELL = "text-align: left; vertical-align: top; padding: 0 1em 0 0; white-space: pre-wrap"


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """HTML: a title, and a line for each row whose value is neither None nor empty."""
    from html import escape

    lines = [
        f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in rows
        if value is not None and value != ""
    ]
    return f'<table><caption style="{_CELL}"><b>{escape(title)}</b></caption>{"".join(lines)}</table>'


def shown(value: object) -> str:
    """The value as its `repr` has it, as far as there is room; whatever that raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the value's own code
        text = f"<{type(value).__qualname__}, whose repr raised {type(error).__qualname__}>"
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 4]} ..."


def seconds(value: float | None) -> str:
    """A length of time, in a unit that suits it; empty for None."""
    if value is None:
        return ""
    if value >= 1:
        return f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"
