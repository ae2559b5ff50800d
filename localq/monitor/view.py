# SPDX-License-Identifier: MIT
"""What somebody looks at in `localq top`: which queue, which panel, which row, and what is asked.

Used by the renderer, which draws it, and by `localq.monitor.steering`, which changes it. Frozen values.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from localq.monitor.history import Watched

__all__ = ["Act", "Deed", "Details", "PanelName", "Scene", "Sorting", "View"]


class PanelName(IntEnum):
    """The panels, by the key that shows them."""

    QUEUES = 1
    WORKERS = 2
    FUNCTIONS = 3
    TASKS = 4
    FAILURES = 5
    LOG = 6


class Act(StrEnum):
    """What the keys can do to a queue."""

    CANCEL = "cancel"
    KILL = "kill"
    DRAIN = "drain"
    STACK = "stack"


class Deed(msgspec.Struct, frozen=True):
    """One thing to do to a queue. `target`: a task's id for CANCEL and KILL, a pid for the others."""

    act: Act
    queue: str
    target: str
    about: str = ""  # the target as the question and the answer call it


class Sorting(msgspec.Struct, frozen=True):
    """Of one panel. `column`: the head of one of its columns; empty for the panel's own order."""

    panel: PanelName
    column: str = ""
    is_reversed: bool = False


class Details(msgspec.Struct, frozen=True):
    """One row of a panel, wholly. `stack`: None when nobody has asked for it."""

    panel: PanelName
    key: str
    scroll: int = 0
    stack: str | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at, and how."""

    queue: str = ""  # empty: the first
    panel: PanelName = PanelName.WORKERS
    selected: str = ""  # the key of a row; empty: none
    sortings: tuple[Sorting, ...] = ()
    filter: str = ""
    is_typing: bool = False  # the filter
    is_paused: bool = False
    has_help: bool = False
    details: Details | None = None
    question: Deed | None = None  # to be confirmed
    notice: str = ""  # what the last deed came to
    interval: float = 1.0

    def sorting_of(self, panel: PanelName) -> Sorting:
        return next((each for each in self.sortings if each.panel == panel), Sorting(panel))

    def sorted_by(self, sorting: Sorting) -> View:
        others = tuple(each for each in self.sortings if each.panel != sorting.panel)
        return msgspec.structs.replace(self, sortings=(*others, sorting))

    def but(self, **changes: object) -> View:
        """The same with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class Scene(msgspec.Struct, frozen=True):
    """All that a frame shows. `now`: seconds since the epoch."""

    queues: tuple[Watched, ...]
    view: View
    now: float

    @property
    def shown(self) -> Watched | None:
        """The queue that is looked at; the first where there is none of that name any more."""
        chosen = next((watched for watched in self.queues if watched.name == self.view.queue), None)
        return chosen or next(iter(self.queues), None)
