"""What takes long is told: on a terminal in a line that is taken back, in a pipe now and then in one that stays."""

import io
import re
import sys
import threading

import pytest

from common import activity
from common.activity import Activity, counted, silent


class Clock:
    """Stands for the clock, and for the speaker's thread, which looks once a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            with activity._speaker.lock:
                if activity._speaker.activities and not activity._speaker.pauses:
                    activity._speaker._tell()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(activity, "time", clock)
    monkeypatch.setattr(activity._Speaker, "_run", lambda self, wake: None)
    return clock


def lines(out):
    return out.getvalue().splitlines()


def test_a_pipe_gets_a_line_after_10_30_and_60_seconds_and_then_every_five_minutes(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    told = []
    with Activity("packing", total=4) as packing:
        packing.done = 1
        for second in range(1, 1001):
            before = len(lines(out))
            clock.run(1)
            told += [second] * (len(lines(out)) - before)
    assert told == [10, 30, 60, 360, 660, 960]
    assert all("packing" in line and "1 of 4" in line for line in lines(out))
    assert "\r" not in out.getvalue() and "\x1b" not in out.getvalue()


def test_the_innermost_is_told_and_one_around_it_where_each_of_these_is_short(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    with Activity("training"):
        for fold in range(20):
            with Activity(f"fold {fold}"):
                clock.run(8)
    assert [line.split(":")[0] for line in lines(out)] == ["fold 1", "fold 3", "fold 7"]  # 10, 30, 60 s


def test_what_speaks_itself_is_not_told_once_more_for_what_it_is_part_of(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    with Activity("getting ready"):
        clock.run(12)
        with Activity("training"):
            clock.run(300)
    assert [line.split(":")[0] for line in lines(out)] == ["getting ready", *["training"] * 3]


def test_a_terminal_shows_it_every_second_and_takes_it_back_before_anything_else(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := Screen())
    monkeypatch.setenv("TERM", "xterm")
    with Activity("reading", total=10) as reading:
        for done in range(1, 4):
            reading.done = done
            clock.run(1)
        print("a line of its own")
        clock.run(1)
    shown, screen = [], ""
    for written in out.getvalue().replace("\x1b[K", "").split("\r"):  # each begins at the line's left
        shown += re.findall(r"(\d) of 10", written)
        screen = screen[: screen.rfind("\n") + 1] + written
    assert shown == ["1", "2", "3", "3"]
    assert screen == "a line of its own\n"
    assert sys.stdout is out


def test_a_line_that_has_not_ended_is_left_alone(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := Screen())
    with Activity("reading"):
        print("half a ", end="")
        clock.run(5)
        print("line")
    assert out.getvalue() == "half a line\n"


def test_while_another_process_speaks_nothing_is_said(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    with Activity("running jobs"):
        with silent():
            clock.run(100)
        assert not lines(out)
        clock.run(261)
    assert len(lines(out)) == 1  # at 360 s


def test_where_standard_output_is_what_is_made_the_lines_go_elsewhere(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())
    for stream in (err, out):  # the second time all is as before
        with Activity("predicting"):
            if stream is err:
                activity.tell_on_stderr()
            clock.run(15)
        assert len(lines(stream)) == 1 and len(lines(out)) == (stream is out)


def test_items_are_counted_as_they_come(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    items = counted(range(0, 10, 4), "predicting", 10, each=4)
    seen = [(item, activity._speaker.activities[-1].done) for item in items]
    assert seen == [(0, 0), (4, 4), (8, 8)] and not activity._speaker.activities


def test_the_thread_ends_with_the_last_activity_and_further_processes_of_a_training_are_silent(monkeypatch):
    def speakers():
        return [thread for thread in threading.enumerate() if thread.name == "activity"]

    with Activity("outer"), Activity("inner"):
        (thread,) = speakers()
    thread.join(60)
    assert not speakers()
    monkeypatch.setenv("LOCAL_RANK", "1")
    with Activity("outer"):
        assert not speakers()


def test_wide_characters_do_not_make_the_line_wrap():
    assert activity._cut("永字八法", 5) == "永字" and activity._cut("abc", 3) == "abc"
