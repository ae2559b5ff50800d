# SPDX-License-Identifier: MIT
"""What a key does: from a Scene and a key to the next View, and perhaps a Deed or the end.

Used by `localq top`. Pure, as rendering is: a deed is only named here, and done elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from localq.monitor.screen import words
from localq.monitor.screen.panel import entries_of
from localq.monitor.screen.panels import PANELS
from localq.monitor.snapshot import Event, RunningTask, WorkerReading
from localq.monitor.view import Act, Deed, Details, PanelName, Scene, Sorting, View

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_INTERVAL", "SHORTEST_INTERVAL", "Step", "press"]

SHORTEST_INTERVAL = 0.1  # seconds
LONGEST_INTERVAL = 60.0
PAGE = 10  # rows
LONGEST_FILTER = 60  # characters

_INTERVALS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_MOVES = {"up": -1, "down": 1, "j": 1, "k": -1, "pageup": -PAGE, "pagedown": PAGE, "home": -(1 << 40), "end": 1 << 40}


class Step(NamedTuple):
    """What a key came to."""

    view: View
    deed: Deed | None = None
    is_end: bool = False


def press(scene: Scene, key: str) -> Step:
    """The keys are named in `localq.monitor.keys`."""
    view = scene.view.but(notice="")
    if view.question is not None:
        return _answer(view, view.question, key)
    if view.is_typing:
        return Step(_type(view, key))
    if key == "q":
        return Step(view, is_end=True)
    if key == "esc":
        return Step(_back(view))
    if key in ("?", "h"):
        return Step(view.but(has_help=not view.has_help))
    if key in _MOVES:
        return Step(_move(scene, view, _MOVES[key]))
    if key in _ACTS:
        return _ask(scene, view, _ACTS[key])
    change = _CHANGES.get(key)
    return Step(view if change is None else change(scene, view))


def _answer(view: View, deed: Deed, key: str) -> Step:
    view = view.but(question=None)
    if key in ("y", "Y"):
        return Step(view.but(notice=f"{deed.act.value} {deed.about or deed.target} ..."), deed)
    return Step(view.but(notice="nothing was done"))


def _type(view: View, key: str) -> View:
    if key == "enter":
        return view.but(is_typing=False)
    if key == "esc":
        return view.but(is_typing=False, filter="", selected="")
    if key == "backspace":
        return view.but(filter=view.filter[:-1])
    if key == "space":
        key = " "
    if len(key) == 1 and key.isprintable() and len(view.filter) < LONGEST_FILTER:
        return view.but(filter=view.filter + key, selected="")
    return view


def _back(view: View) -> View:
    """One step out of whatever was entered last."""
    if view.has_help:
        return view.but(has_help=False)
    if view.details is not None:
        return view.but(details=None)
    if view.selected:
        return view.but(selected="")
    return view.but(filter="")


def _move(scene: Scene, view: View, by: int) -> View:
    if view.has_help:
        return view
    if view.details is not None:
        scroll = max(0, min(view.details.scroll + by, 10_000))
        return view.but(details=Details(view.details.panel, view.details.key, scroll, view.details.stack))
    panel, entries = PANELS[view.panel], _entries(scene, view)
    if not entries:
        return view.but(selected="")
    keys = [panel.key(entry) for entry in entries]
    if view.selected not in keys:
        return view.but(selected=keys[-1] if by > PAGE else keys[0])
    return view.but(selected=keys[max(0, min(keys.index(view.selected) + by, len(keys) - 1))])


def _entries(scene: Scene, view: View) -> list[Any]:
    watched = scene.shown
    if watched is None or watched.latest is None:
        return []
    return entries_of(PANELS[view.panel], watched.latest, view)


def _chosen(scene: Scene, view: View) -> Any:
    """The entry that the details show, or the selected one, or the first."""
    watched = scene.shown
    if watched is None or watched.latest is None:
        return None
    wanted, details = view.selected, view.details
    if details is not None:
        view, wanted = view.but(panel=details.panel, filter=""), details.key
    panel, entries = PANELS[view.panel], _entries(scene, view)
    found = next((entry for entry in entries if panel.key(entry) == wanted), None)
    if found is None and not wanted and details is None:
        return next(iter(entries), None)
    return found


def _enter(scene: Scene, view: View) -> View:
    if view.has_help or view.details is not None:
        return view
    entry = _chosen(scene, view)
    if entry is None:
        return view.but(notice="there is nothing to choose")
    key = PANELS[view.panel].key(entry)
    return view.but(selected=key, details=Details(view.panel, key))


def _ask(scene: Scene, view: View, act: Act) -> Step:
    """A deed, once it was confirmed; a stack harms nobody and needs no word."""
    watched, entry = scene.shown, _chosen(scene, view)
    if watched is None or (not view.selected and view.details is None and act is not Act.STACK):
        return Step(view.but(notice="choose a row first, with the arrows"))
    if entry is None:
        return Step(view.but(notice="that row is gone" if view.selected else "there is nothing to choose"))
    task_id, pid, function = _targets(entry)
    target = task_id if act in (Act.CANCEL, Act.KILL) else pid and str(pid)
    if not target:
        what = "task in hand" if act in (Act.CANCEL, Act.KILL) else "living worker"
        return Step(view.but(notice=f"{act.value}: this row has no {what}"))
    about = f"task {target}" + (f" ({words.clean(function)})" if function else "")
    deed = Deed(act, watched.name, target, about if act in (Act.CANCEL, Act.KILL) else f"worker {target}")
    if act is not Act.STACK:
        return Step(view.but(question=deed, has_help=False))
    shown = _enter(scene, view.but(has_help=False))
    if shown.details is not None:
        shown = shown.but(details=Details(shown.details.panel, shown.details.key, shown.details.scroll, "asking ..."))
    return Step(shown, deed)


def _targets(entry: Any) -> tuple[str | None, int | None, str | None]:
    """Of a row: its task's id, its worker's pid, its function."""
    if isinstance(entry, RunningTask):
        return entry.task_id, entry.worker_pid, entry.function
    if isinstance(entry, WorkerReading):
        return entry.task_id, None if entry.state == "dead" else entry.pid, entry.function
    if isinstance(entry, Event) and entry.kind in ("log", "retry"):
        return entry.task_id, None, entry.function
    return None, None, None


def _show(name: PanelName) -> Callable[[Scene, View], View]:
    return lambda scene, view: view.but(panel=name, selected="", details=None, has_help=False)


def _next_panel(by: int) -> Callable[[Scene, View], View]:
    return lambda scene, view: _show(PanelName((view.panel - 1 + by) % len(PanelName) + 1))(scene, view)


def _next_queue(by: int) -> Callable[[Scene, View], View]:
    def change(scene: Scene, view: View) -> View:
        names = [watched.name for watched in scene.queues]
        if scene.shown is None or len(names) < 2:
            return view.but(notice="there is no other queue")
        name = names[(names.index(scene.shown.name) + by) % len(names)]
        return view.but(queue=name, selected="", details=None)

    return change


def _sort(scene: Scene, view: View) -> View:
    """By the next column that one can sort by; after the last one, in the panel's own order."""
    heads = ["", *(column.head for column in PANELS[view.panel].columns if column.sort is not None)]
    now = view.sorting_of(view.panel).column
    head = heads[(heads.index(now) + 1) % len(heads)] if now in heads else ""
    return view.sorted_by(Sorting(view.panel, head)).but(notice=f"sorted by {head}" if head else "the usual order")


def _reverse(scene: Scene, view: View) -> View:
    now = view.sorting_of(view.panel)
    return view.sorted_by(Sorting(view.panel, now.column, not now.is_reversed))


def _hasten(scene: Scene, view: View) -> View:
    shorter = max((each for each in _INTERVALS if each < view.interval), default=SHORTEST_INTERVAL)
    return view.but(interval=shorter, notice=f"every {shorter:g} s")


def _slow(scene: Scene, view: View) -> View:
    longer = min((each for each in _INTERVALS if each > view.interval), default=LONGEST_INTERVAL)
    return view.but(interval=longer, notice=f"every {longer:g} s")


def _pause(scene: Scene, view: View) -> View:
    return view.but(is_paused=not view.is_paused)


def _filter(scene: Scene, view: View) -> View:
    return view if view.details is not None or view.has_help else view.but(is_typing=True)


_ACTS = {"c": Act.CANCEL, "K": Act.KILL, "d": Act.DRAIN, "t": Act.STACK}
_CHANGES: dict[str, Callable[[Scene, View], View]] = {
    **{str(name.value): _show(name) for name in PanelName},
    "tab": _next_panel(1),
    "backtab": _next_panel(-1),
    "n": _next_queue(1),
    "N": _next_queue(-1),
    "enter": _enter,
    "s": _sort,
    "r": _reverse,
    "/": _filter,
    "p": _pause,
    "space": _pause,
    "+": _hasten,
    "=": _hasten,
    "-": _slow,
}
