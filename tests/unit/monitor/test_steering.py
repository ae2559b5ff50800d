# SPDX-License-Identifier: MIT
"""What keys do in `localq top`, without a terminal; and how they are read from bytes."""

from __future__ import annotations

import pytest

from localq.monitor.history import Watched
from localq.monitor.keys import Keys
from localq.monitor.steering import press
from localq.monitor.view import Act, Deed, Details, PanelName, Scene, Sorting, View
from tests.support.snapshots import BUSY, HOSTILE, IDLE, MANY_WORKERS, NOW, scene, watched


def after(*keys: str, of: Scene | None = None, view: View | None = None) -> View:
    """What is looked at when these keys were pressed, none of which does anything to a queue."""
    start = of or scene(BUSY)
    looked = view or start.view
    for key in keys:
        step = press(Scene(start.queues, looked, NOW), key)
        assert not step.is_end
        assert step.deed is None
        looked = step.view
    return looked


def deed_after(*keys: str, view: View | None = None, of: Scene | None = None) -> tuple[Deed | None, View]:
    """What the last key does."""
    start = of or scene(BUSY)
    looked = after(*keys[:-1], of=start, view=view)
    step = press(Scene(start.queues, looked, NOW), keys[-1])
    return step.deed, step.view


def test_q_ends_it_but_not_while_a_filter_is_typed() -> None:
    assert press(scene(BUSY), "q").is_end
    assert after("/", "q").filter == "q"


def test_numbers_and_tab_choose_panels_in_a_circle() -> None:
    assert after("4").panel == PanelName.TASKS
    assert after("6", "tab").panel == PanelName.QUEUES
    assert after("1", "backtab").panel == PanelName.LOG


def test_arrows_choose_rows_and_stop_at_the_ends() -> None:
    assert after("down").selected == "4002"  # the one that runs longest is first
    assert after("down", "down").selected == "4001"
    assert after("down", "j", "k", "up", "up").selected == "4002"
    assert after("end").selected == "4004"
    assert after("end", "down").selected == "4004"
    assert after("end", "home").selected == "4002"


def test_page_keys_go_further() -> None:
    rows = [after("down", *["pagedown"] * number, of=scene(MANY_WORKERS)).selected for number in range(3)]

    assert len(set(rows)) == 3


def test_a_selected_row_stays_selected_when_the_order_changes() -> None:
    view = after("down", "s", "s")

    assert view.selected == "4002"
    assert view.sorting_of(PanelName.WORKERS).column == "for"


def test_s_goes_through_the_columns_and_back_to_the_usual_order() -> None:
    view, seen = View(), []
    for _ in range(20):
        view = after("s", view=view)
        seen.append(view.sorting_of(PanelName.WORKERS).column)

    assert {"function", "for", "pid", "cpu", "memory", "done", "failed", ""} <= set(seen)


def test_r_turns_the_order_of_this_panel_only() -> None:
    view = after("r", "4")

    assert view.sorting_of(PanelName.WORKERS).is_reversed
    assert not view.sorting_of(PanelName.TASKS).is_reversed
    assert not after("r", "r").sorting_of(PanelName.WORKERS).is_reversed


def test_a_filter_is_typed_kept_and_dropped() -> None:
    assert after("/", "r", "e", "space", "x", "backspace", "backspace", "enter").filter == "re"
    assert not after("/", "r", "enter").is_typing
    assert after("/", "r", "esc").filter == ""
    assert after("/", "r", "enter", "esc").filter == ""


def test_a_filter_has_no_controls_and_does_not_grow_for_ever() -> None:
    assert after("/", "up", "\x1b", "pagedown").filter == ""
    assert len(after("/", *"x" * 500).filter) < 100


def test_escape_goes_back_one_step_at_a_time() -> None:
    view = after("/", "r", "enter", "down", "enter", "?")

    steps = []
    for _ in range(4):
        view = after("esc", view=view)
        steps.append((view.has_help, view.details is not None, bool(view.selected), view.filter))
    assert steps == [
        (False, True, True, "r"),
        (False, False, True, "r"),
        (False, False, False, "r"),
        (False, False, False, ""),
    ]


def test_enter_shows_the_selected_row_or_the_first() -> None:
    assert after("enter").details == Details(PanelName.WORKERS, "4002")
    assert after("down", "down", "enter").details == Details(PanelName.WORKERS, "4001")
    assert after("enter", of=scene(IDLE), view=View(panel=PanelName.TASKS)).details is None


def test_arrows_scroll_in_details() -> None:
    details = after("enter", "down", "down", "up").details

    assert details is not None
    assert details.scroll == 1


@pytest.mark.parametrize(("key", "act"), [("c", Act.CANCEL), ("K", Act.KILL), ("d", Act.DRAIN)])
def test_nothing_is_done_to_a_queue_without_a_yes(key: str, act: Act) -> None:
    question = after("4", "down", key).question

    assert question is not None
    assert question.act is act
    for other in ("n", "esc", "enter", "q", "space", key):
        deed, view = deed_after("4", "down", key, other)
        assert deed is None
        assert view.question is None
    deed, view = deed_after("4", "down", key, "y")
    assert deed == question
    assert view.question is None


def test_a_deed_names_its_target_and_stays_with_it_when_rows_move() -> None:
    asked = after("4", "down", "c")

    step = press(Scene((watched(MANY_WORKERS),), asked, NOW), "y")

    assert step.deed == Deed(Act.CANCEL, "thumbnails", "1a2b3c4d-2-7", "task 1a2b3c4d-2-7 (photos.train_faces)")


def test_nothing_is_asked_while_no_row_was_chosen() -> None:
    for key in ("c", "K", "d"):
        view = after("4", key)
        assert view.question is None
        assert "choose a row" in view.notice


def test_a_row_without_a_task_can_t_be_cancelled_and_says_so() -> None:
    view = after("end", "c")  # an idle worker

    assert view.question is None
    assert "no task in hand" in view.notice
    assert "no living worker" in after("3", "down", "d").notice


def test_a_row_that_is_gone_says_so() -> None:
    assert "gone" in after("c", view=View(selected="no such")).notice


def test_a_worker_is_drained_by_its_pid_from_its_task_too() -> None:
    deed, _ = deed_after("4", "down", "d", "y")

    assert deed is not None
    assert (deed.act, deed.target) == (Act.DRAIN, "4002")


def test_a_stack_is_asked_for_at_once_and_shown_in_the_details() -> None:
    deed, view = deed_after("4", "t")

    assert deed is not None
    assert (deed.act, deed.target) == (Act.STACK, "4002")
    assert view.details is not None
    assert view.details.key == "1a2b3c4d-2-7"
    assert view.details.stack is not None


def test_n_goes_round_the_queues() -> None:
    two = Scene((watched(IDLE, 1), watched(HOSTILE, 1)), View(), NOW)

    assert after("n", of=two).queue == "größe"
    assert after("n", "n", of=two).queue == "thumbnails"
    assert after("N", of=two).queue == "größe"
    assert "no other queue" in after("n").notice


def test_the_interval_has_bounds() -> None:
    assert after(*["+"] * 30).interval == 0.1
    assert after(*["-"] * 30).interval == 60.0
    assert after("-", "+").interval == 1.0


def test_p_and_space_pause_and_go_on() -> None:
    assert after("p").is_paused
    assert not after("p", "space").is_paused


def test_a_notice_stays_until_the_next_key() -> None:
    assert after("tab", view=View(notice="cancelled")).notice == ""


@pytest.mark.parametrize("key", ["left", "right", "Z", "€", "redraw", ""])
def test_other_keys_do_nothing(key: str) -> None:
    assert after(key) == View()


@pytest.mark.parametrize("queues", [(), (watched(IDLE, 1),)], ids=["no queue", "an idle queue"])
def test_every_key_can_be_pressed_anywhere(queues: tuple[Watched, ...]) -> None:
    keys = [*"123456?hsrpqcKdtnN+-=/jky ", "esc", "enter", "up", "down", "pageup", "pagedown", "home", "end", "tab"]
    for first in keys:
        for second in keys:
            view = View()
            for key in (first, second):
                view = press(Scene(queues, view, NOW), key).view


def test_a_sort_column_that_is_not_there_is_forgotten() -> None:
    odd = View().sorted_by(Sorting(PanelName.WORKERS, "no such column"))

    assert after("s", view=odd).sorting_of(PanelName.WORKERS).column == ""


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q?1", ["q", "?", "1"]),
        (b"\t\r\n\x7f \x0c", ["tab", "enter", "enter", "backspace", "space", "redraw"]),
        (
            b"\x1b[A\x1b[B\x1bOA\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[Z",
            ["up", "down", "up", "pageup", "pagedown", "home", "end", "backtab"],
        ),
        (b"\x1b[1;5A\x1b[200~x\x1b[24~", ["x"]),  # known to nobody here
        (b"\x1bq", []),  # with Alt
        (b"\x1b\x1b[A", ["esc", "up"]),
        ("ä写".encode(), ["ä", "写"]),
        (b"\xff\xfe\x00\x01a", ["a"]),
        (b"\x1b[" + b"9" * 100 + b"~", []),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str]) -> None:
    whole = Keys().feed(data)
    reader = Keys()
    in_parts = [key for byte in data for key in reader.feed(bytes([byte]))]

    if not data.startswith(b"\x1b[999"):
        assert in_parts == whole == keys
    assert set(whole) <= {*keys, *"9~"}


def test_an_escape_alone_is_a_key_once_nothing_follows() -> None:
    keys = Keys()

    assert keys.feed(b"\x1b") == []
    assert keys.is_waiting
    assert keys.expire() == ["esc"]
    assert not keys.is_waiting
    assert keys.feed(b"a") == ["a"]


def test_half_a_sequence_that_never_ends_is_dropped() -> None:
    keys = Keys()

    keys.feed(b"\x1b[1;")

    assert keys.expire() == []
    assert keys.feed(b"a") == ["a"]
