# SPDX-License-Identifier: MIT
"""What a frame of `localq top` says, and that it is exactly as large as the terminal, whatever was read."""

from __future__ import annotations

import io
import re

import msgspec
import pytest
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console

from localq.monitor.history import Condition, Watched
from localq.monitor.render import ASCII, UNICODE, Frame, escaped, render, report
from localq.monitor.screen.paint import COLOURS
from localq.monitor.snapshot import Snapshot
from localq.monitor.view import Act, Deed, Details, PanelName, Scene, Sorting, View
from tests.support import snapshots
from tests.support.snapshots import (
    BROKEN,
    BUSY,
    HOSTILE,
    IDLE,
    MANY_WORKERS,
    NOW,
    ONE_WORKER,
    running_worker,
    scene,
    watched,
    worker,
)

SIZES = ((80, 24), (100, 30), (120, 40), (200, 60), (40, 10))

VIEWS = {
    "plain": View(),
    "tasks": View(panel=PanelName.TASKS, selected="1a2b3c4d-2-7"),
    "help": View(has_help=True),
    "filter": View(filter="re\x1b[2J", is_typing=True),
    "question": View(
        question=Deed(Act.KILL, "thumbnails", "1a2b3c4d-2-7", "task 1a2b3c4d-2-7 (\x1b[2J写真" + "x" * 300)
    ),
    "task": View(details=Details(PanelName.TASKS, "1a2b3c4d-1-7", 3, "File \x1b[31m\n  写真" * 80)),
    "worker": View(details=Details(PanelName.WORKERS, "4001")),
    "gone": View(details=Details(PanelName.WORKERS, "no such", 1 << 40)),
    "notice": View(notice="\x1b[2J" + "said " * 100, is_paused=True, filter="x"),
}


def text_of(frame: Frame) -> str:
    return "\n".join(frame.text)


def shown(latest: Snapshot = BUSY, width: int = 120, height: int = 40, view: View | None = None) -> str:
    return text_of(render(scene(latest, view), width, height))


@pytest.mark.parametrize("size", [*SIZES, (160, 24), (30, 5), (7, 3), (1, 1), (300, 100)], ids=str)
@pytest.mark.parametrize("name", snapshots.ALL)
def test_a_frame_is_exactly_as_wide_and_high_as_asked_for(name: str, size: tuple[int, int]) -> None:
    width, height = size

    for glyphs in (UNICODE, ASCII):
        for view in VIEWS.values():
            frame = render(scene(snapshots.ALL[name], view), width, height, glyphs)

            assert len(frame.lines) == height
            assert {cell_len(line) for line in frame.text} == {width}


@pytest.mark.parametrize("name", snapshots.ALL)
@pytest.mark.parametrize("view", VIEWS)
def test_no_character_that_a_terminal_obeys_is_in_a_frame(name: str, view: str) -> None:
    text = shown(snapshots.ALL[name], 200, 60, VIEWS[view])

    wrong = {character for character in text if not character.isprintable() and character != "\n"}
    assert not wrong
    assert "[31m" not in text  # nor what is left of a sequence without its escape
    assert "‮" not in text


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_queue_its_health_and_how_busy_it_is_are_said_at_any_size(size: tuple[int, int]) -> None:
    text = shown(BUSY, *size)

    for words in ("thumbnails", "healthy, at work", "3 of 4 busy", "1,236", "tasks/s", "train_faces", "2m12s"):
        assert words in text


@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_every_panel_is_there_from_80_columns_and_24_lines(size: tuple[int, int]) -> None:
    text = shown(BUSY, *size)

    for words in ("1 queues", "2 workers", "3 functions", "4 tasks", "5 failures", "6 log"):
        assert words in text
    for words in ("failed 12", "UnidentifiedImageError", "skipping holiday-0191.jpg", "epoch 4 of 10", "mail"):
        assert words in text


def test_panels_for_which_there_is_no_room_are_named_with_their_keys() -> None:
    text = shown(BROKEN, 80, 16)

    assert "6 log" in text.splitlines()[-1]


def test_the_focused_panel_gets_the_room_where_there_is_little() -> None:
    text = shown(BUSY, 40, 10, View(panel=PanelName.FAILURES))

    assert "5 failures" in text
    assert "UnidentifiedImage" in text


def test_what_is_wrong_is_said_in_words_the_worst_first() -> None:
    text = shown(BROKEN, 100, 30)

    assert "broken" in text
    assert "The supervisor is gone" in text
    assert "`kill -CONT 4002` lets it go on" in text
    assert text.index("supervisor is gone") < text.index("was stopped by a signal")


def test_problems_that_find_no_room_are_counted() -> None:
    assert "(and 2 more)" in shown(BROKEN, 80, 24)
    assert "(and 3 more)" in shown(BROKEN, 40, 10)


def test_the_state_of_a_worker_is_a_word_and_a_symbol_and_no_colour_alone() -> None:
    text = shown(BROKEN, 100, 30)

    for words in ("✗ dead", "‖ stopped", "◌ starting"):
        assert words in text


def test_nothing_moves_when_the_first_problem_comes() -> None:
    calm = shown(BUSY, 80, 24).splitlines()
    wrong = shown(msgspec.structs.replace(BUSY, problems=("A sentence.",)), 80, 24).splitlines()

    assert [number for number in range(24) if calm[number] != wrong[number]] == [0, 4]
    assert "nothing is wrong" in calm[4]


def test_an_idle_queue_says_so_in_sentences() -> None:
    text = shown(IDLE, 100, 30)

    for words in (
        "healthy, idle",
        "0 of 4 busy",
        "no task is running",
        "nothing has failed",
        "no function was called yet",
    ):
        assert words in text


def test_the_workers_that_run_longest_come_first_and_those_left_out_are_counted() -> None:
    lines = shown(MANY_WORKERS, 100, 30).splitlines()

    at = next(number for number, line in enumerate(lines) if "2 workers" in line)
    ages = [float(match[1]) for line in lines[at + 1 : at + 6] if (match := re.search(r" ([0-9.]+)s ", line))]
    assert "96 of 128 busy" in lines[at]
    assert len(ages) == 5
    assert ages == sorted(ages, reverse=True)
    rows = sum("running" in line for line in lines[at + 1 :] if "photos.resize_" in line)
    assert f"and {128 - rows} more" in lines[at]


def test_workers_with_short_tasks_do_not_change_places() -> None:
    def order(*seconds: float | None) -> list[str]:
        workers = tuple(
            running_worker(pid, "f", now, busy=0.93 + pid % 3 / 100) if now is not None else worker(pid, busy=0.94)
            for pid, now in zip(range(4001, 4004), seconds, strict=True)
        )
        text = shown(msgspec.structs.replace(ONE_WORKER, workers=workers), 80, 24)
        return re.findall(r" (400\d) ", text.partition("2 workers")[2].partition("3 functions")[0])

    assert order(0.001, 0.4, None) == order(None, 0.002, 0.3) == order(0.3, 0.002, 0.001) == ["4001", "4002", "4003"]
    assert order(0.3, 0.1, 7.0) == ["4003", "4001", "4002"]


def test_a_selected_row_is_marked_and_in_sight_however_far_down() -> None:
    text = shown(MANY_WORKERS, 100, 30, View(selected="5124"))

    assert "▸○ idle" in text
    assert re.search(r"▸.* 5124 ", text)
    assert "above" in text


def test_one_worker_is_no_special_case() -> None:
    assert "1 of 1 busy" in shown(ONE_WORKER, 80, 24)


def test_priorities_have_shades_of_their_own_and_the_longest_bar_is_the_deepest_queue() -> None:
    lines = shown(BUSY, 100, 30).splitlines()

    default = next(line for line in lines if line.startswith(" default"))
    mail = next(line for line in lines if line.startswith(" mail "))
    assert [default.count(shade) > 0 for shade in "█▓▒░"] == [True] * 4
    assert [mail.count(shade) > 0 for shade in "█▓▒░"] == [False, False, True, False]
    assert sum(default.count(shade) for shade in "█▓▒░") > 5 * mail.count("▒")


def test_a_sparkline_rises_and_falls_with_the_readings() -> None:
    rates = next(line for line in shown(BUSY, 200, 60).splitlines() if "tasks/s" in line)

    drawn = rates.partition("tasks/s ")[2][:28]
    assert len(set(drawn)) > 4
    assert "█" in drawn


def test_a_sparkline_waits_until_there_is_something_to_compare() -> None:
    few, more = (text_of(render(scene(BUSY, None, number), 100, 30)) for number in (2, 3))

    assert not set("▂▃▄▅▆▇").intersection(few)
    assert set("▂▃▄▅▆▇").intersection(more)


def test_a_long_path_loses_its_beginning_and_not_the_name() -> None:
    text = shown(BUSY, 80, 24)

    assert "photos.train_faces" in text  # where there is room
    assert re.search(r"^ train_faces ", text, re.MULTILINE)  # where there is not


def test_wide_characters_are_cut_between_and_not_within() -> None:
    text = shown(HOSTILE, 80, 24)

    assert "とても長い名" in text
    assert "…" in text


def test_rows_are_sorted_by_the_chosen_column_and_its_head_says_so() -> None:
    chosen = View(panel=PanelName.FUNCTIONS, sortings=(Sorting(PanelName.FUNCTIONS, "per s"),))
    turned = View(panel=PanelName.FUNCTIONS, sortings=(Sorting(PanelName.FUNCTIONS, "per s", True),))

    falling, rising = (text.partition("3 functions")[2] for text in (shown(view=chosen), shown(view=turned)))

    assert "per s▾" in falling
    assert falling.index("mail.send") < falling.index("photos.resize") < falling.index("train_faces")
    assert "per s▴" in rising
    assert rising.index("train_faces") < rising.index("photos.resize") < rising.index("mail.send")


def test_a_filter_keeps_rows_that_have_it_and_says_where_none_has() -> None:
    text = shown(view=View(filter="SEND"))

    assert "train_faces" not in text
    assert "mail.send" in text
    assert "none has 'SEND' in it" in text
    assert "only /SEND" in text


def test_details_say_all_that_is_known_of_a_task_and_show_its_stack() -> None:
    view = View(panel=PanelName.TASKS, details=Details(PanelName.TASKS, "1a2b3c4d-2-7", 0, 'File "x.py", line 3 in f'))

    text = shown(BUSY, 80, 30, view)

    for words in (
        "1a2b3c4d-2-7",
        "photos.train_faces",
        "2m12s, at most 10m00s",
        "4002",
        "42%",
        "epoch 4 of 10, loss 0.031",
    ):
        assert words in text
    assert 'File "x.py", line 3 in f' in text


def test_details_of_what_has_ended_say_that() -> None:
    assert "has ended" in shown(view=View(details=Details(PanelName.TASKS, "gone")))


def test_an_error_is_whole_in_the_details_however_long() -> None:
    key = "1799999996.0 4001 1a2b3c4d-5-2 failure"

    text = shown(BUSY, 40, 24, View(details=Details(PanelName.FAILURES, key)))

    assert "UnidentifiedImageError:cannotidentifyimagefile'holiday-0192.jpg'" in re.sub(r"\s", "", text)


def test_a_question_names_the_task_and_the_answers() -> None:
    last = shown(view=View(question=Deed(Act.CANCEL, "q", "1-2-3", "task 1-2-3 (photos.resize)"))).splitlines()[-1]

    assert "Cancel task 1-2-3 (photos.resize)?" in last
    assert "y yes" in last
    assert "n no" in last


def test_a_paused_display_says_so() -> None:
    assert "display paused" in shown(view=View(is_paused=True), width=80, height=24)


def test_several_queues_are_named_with_how_they_are() -> None:
    ended = watched(IDLE, 1).lost(Condition.ENDED, "queue 'thumbnails' has ended", NOW - 12)
    queues = (
        Watched("absent", Condition.SILENT, NOW - 3, None, "queue 'absent' does not answer within 2 s"),
        Watched("nightly", ended.condition, ended.since, ended.history, ended.said),
        watched(BUSY),
    )

    first = text_of(render(Scene(queues, View(), NOW), 100, 30))
    second = text_of(render(Scene(queues, View(queue="nightly"), NOW), 100, 30))
    third = text_of(render(Scene(queues, View(queue="thumbnails"), NOW), 100, 30))

    assert "✗ [absent]   ○ nightly   ✓ thumbnails" in first
    assert "does not answer within 2 s" in first
    assert "It ended 12s ago; waiting for its return" in second
    assert "0 of 4 busy" in second  # how it was last
    assert "healthy, at work" in third


def test_a_queue_that_was_not_read_yet_and_none_at_all_are_said_in_words() -> None:
    assert "Reaching it" in text_of(render(Scene((Watched("new"),), View(), NOW), 80, 24))
    assert "no queue of yours is running" in text_of(render(Scene((), View(), NOW), 80, 24))


def test_help_names_every_key() -> None:
    text = shown(width=80, height=24, view=View(has_help=True))

    for words in ("quit", "show only rows", "cancel a task", "kill a task", "end a worker", "stack", "critical"):
        assert words in text


def test_the_same_scene_gives_the_same_frame() -> None:
    assert render(scene(BUSY), 80, 24) == render(scene(BUSY), 80, 24)


def test_a_report_has_all_panels_in_as_many_lines_as_they_need() -> None:
    frame = report(scene(MANY_WORKERS), 100)

    text = text_of(frame)
    assert {cell_len(line) for line in frame.text} == {100}
    assert "and 108 more" in text
    assert "4 tasks" in text
    assert "6 log" in text


# --- colours --------------------------------------------------------------------------------------------------------


def contrast(colour: Color, ground: float) -> float:
    """As WCAG has it: 1 for none, 21 for black on white."""

    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.03928 else float(((share + 0.055) / 1.055) ** 2.4)

    red, green, blue = map(linear, colour.get_truecolor())
    lights = sorted((0.2126 * red + 0.7152 * green + 0.0722 * blue, ground))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("style", COLOURS)
@pytest.mark.parametrize("ground", [0.0, 1.0], ids=["black", "white"])
def test_no_colour_vanishes_on_dark_or_light_ground(style: str, ground: float) -> None:
    assert contrast(Color.parse(style.split()[-1]), ground) >= 3.0


def test_only_these_colours_are_used_and_no_ground_is_ever_set() -> None:
    allowed = {style.split()[-1] for style in COLOURS} | {"bold", "dim", "reverse"}

    for latest in snapshots.ALL.values():
        for view in VIEWS.values():
            used = {
                word
                for line in render(scene(latest, view), 120, 40).lines
                for _, style in line
                for word in style.split()
            }
            assert used <= allowed


def test_without_colours_a_line_has_none_and_says_the_same() -> None:
    for line in render(scene(BROKEN, View(selected="4001")), 100, 30).lines:
        plain = escaped(line, None)

        codes = {code for match in re.findall(r"\x1b\[([\d;]*)m", plain) for code in match.split(";")}
        assert codes <= {"", "0", "1", "2", "7"}
        assert re.sub(r"\x1b\[[\d;]*[mK]", "", plain) == "".join(text for text, _ in line).rstrip()


def test_a_line_clears_what_is_behind_it_unless_it_is_full() -> None:
    full = render(scene(BUSY), 80, 24).lines[5]

    assert not escaped(full, "256").endswith("\x1b[K")
    assert escaped((("short   ", ""),), "256").endswith("\x1b[K")
    assert escaped((("marked   ", "reverse"),), "256").count(" ") == 3


def test_a_frame_is_a_renderable_of_rich() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(render(scene(BUSY), 80, 24), end="")

    assert out.getvalue().splitlines() == list(render(scene(BUSY), 80, 24).text)
