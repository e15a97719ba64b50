"""What Podium is doing, said while it takes long.

A terminal shows the innermost activity in a status line, redrawn every second. A file or pipe gets a line when an
activity has taken 10, 30 and 60 seconds, and then every five minutes.
"""

import os
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, TypeVar

from common.processes import is_first_process

Item = TypeVar("Item")

TOLD_AT = (10.0, 30.0, 60.0)  # seconds of an activity
TOLD_EVERY = 300.0  # seconds, after these
SHOWN_AFTER = 1.0  # seconds: what is done sooner does not flicker on a terminal
BAR = 24  # characters


class Activity:
    """Something that may take long, as a context manager. Its attributes may change while it goes on.

    Args:
        what: in words, such as `decoding pictures`.
        total: how many there are to do; None: unknown, or not to be counted.

    Attributes:
        what, total: as above.
        done: how many are done.
        share: of the whole, in [0, 1]; None: by `done` and `total`.
        detail: said behind `what` instead of the count and the time left.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what, self.total = what, total
        self.done = 0
        self.share: float | None = None
        self.detail = ""
        self.began = time.monotonic()
        self.told = 0  # lines that were due so far

    def __enter__(self) -> "Activity":
        self.began = time.monotonic()
        _speaker.enter(self)
        return self

    def __exit__(self, *error: object) -> None:
        _speaker.leave(self)

    def text(self, with_bar: bool = False) -> str:
        """One line: what, how far, how long it has taken and will take."""
        taken = time.monotonic() - self.began
        share = self.share
        if share is None and self.total:
            share = min(1.0, self.done / self.total)
        words = []
        if self.detail:
            words.append(self.detail)
        elif self.total:
            words.append(f"{self.done:,} of {self.total:,}")
            if 0 < self.done < self.total:
                words.append(f"about {duration(taken * (self.total - self.done) / self.done)} left")
        elif self.done:
            words.append(f"{self.done:,}")
        full = round(BAR * share) if with_bar and share is not None else None
        bar = "" if full is None else f"  {'━' * full}{'─' * (BAR - full)}  "
        return f"{self.what}:{bar or ' '}{', '.join([*words, f'{duration(taken)} so far'])}"

    def is_due(self, now: float) -> bool:
        """Whether its next line is due."""
        return now - self.began >= _due(self.told)


def counted(items: Iterable[Item], what: str, total: int | None = None, each: int = 1) -> Iterator[Item]:
    """The items as they come, while they are counted as an activity; `each` is how many one of them counts for."""
    with Activity(what, total) as activity:
        for item in items:
            yield item
            activity.done = activity.done + each if total is None else min(total, activity.done + each)


@contextmanager
def silent() -> Iterator[None]:
    """While another process speaks on the same terminal or pipe, or one that waits is not working at all."""
    _speaker.pause(1)
    try:
        yield
    finally:
        _speaker.pause(-1)


def tell_on_stderr() -> None:
    """Until the last activity ends: standard output is for what is made."""
    _speaker.out = "stderr"


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Speaker:
    """The activities under way, and the thread that tells of them as long as there are any."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.RLock()
        self.activities: list[Activity] = []
        self.thread: threading.Thread | None = None
        self.pauses = 0
        self.streams: list[_Watched] = []
        self.wake = threading.Event()
        self.heard = time.monotonic()  # when anything was printed last
        self.out = "stdout"
        self.drawn = False  # a status line stands on the terminal
        self.mid_line = False  # what was printed last has not ended its line

    def enter(self, activity: Activity) -> None:
        with self.lock:
            self.activities.append(activity)
            if self.thread is None and is_first_process():
                self.heard = time.monotonic()
                self.streams = [_Watched(self, "stdout"), _Watched(self, "stderr")]
                self.wake = threading.Event()
                self.thread = threading.Thread(
                    target=self._run, args=(self.wake,), name="activity", daemon=True
                )
                self.thread.start()

    def leave(self, activity: Activity) -> None:
        with self.lock:
            if activity in self.activities:  # a process that was forked knows none
                self.activities.remove(activity)
            self.erase()
            if not self.activities and self.thread is not None:
                self.wake.set()
                self.thread = None
                self.out = "stdout"
                for stream in self.streams:
                    stream.restore()
                self.streams = []

    def pause(self, by: int) -> None:
        with self.lock:
            self.erase()
            self.pauses += by
            if not self.pauses:
                self.heard = time.monotonic()
                for activity in self.activities:  # what another process did was told by that one
                    while activity.is_due(self.heard):
                        activity.told += 1

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(1.0):
            with (
                self.lock,
                suppress(OSError, ValueError),
            ):  # a pipe that nobody reads, a stream that is closed
                if not wake.is_set() and self.activities and not self.pauses:
                    self._tell()

    def _tell(self) -> None:
        out: TextIO = getattr(sys, self.out)
        if is_terminal(out):
            if time.monotonic() - self.activities[-1].began >= SHOWN_AFTER and not self.mid_line:
                width = shutil.get_terminal_size().columns - 1
                text = self.activities[-1].text(with_bar=True)
                if len(text) > width:
                    text = self.activities[-1].text()
                self._write(out, f"\r{_cut(text, width)}\x1b[K")
                self.drawn = True
            return
        now, told = time.monotonic(), False
        for activity in self.activities:
            while activity.is_due(now):
                gap = _due(activity.told) - _due(activity.told - 1)
                activity.told += 1
                # one around others speaks where these do not, such as when each of them is short
                told |= activity is self.activities[-1] or now - self.heard >= gap
        if told:
            self._write(out, self.activities[-1].text() + "\n")
            self.heard = now

    def erase(self) -> None:
        if self.drawn:
            self.drawn = False
            with suppress(OSError, ValueError):
                self._write(getattr(sys, self.out), "\r\x1b[K")

    def _write(self, out: TextIO, text: str) -> None:
        plain = getattr(out, "watched", out)
        plain.write(text)
        plain.flush()


class _Watched:
    """A standard stream that takes the status line away before anything else is written."""

    def __init__(self, speaker: _Speaker, name: str) -> None:
        self.speaker, self.name = speaker, name
        self.watched: TextIO = getattr(sys, name)
        setattr(sys, name, self)

    def write(self, text: str) -> int:
        with self.speaker.lock:
            self.speaker.erase()
            self.speaker.heard = time.monotonic()
            if text:
                self.speaker.mid_line = not text.endswith("\n")
            return self.watched.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def restore(self) -> None:
        if getattr(sys, self.name) is self:  # else somebody has put another in its place since
            setattr(sys, self.name, self.watched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.watched, name)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees what is written there, on a terminal that can take back a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _due(told: int) -> float:
    """Seconds of an activity after which a line is due, of which `told` were due before."""
    if told < 0:
        return 0.0
    more = told - len(TOLD_AT)
    return TOLD_AT[told] if more < 0 else TOLD_AT[-1] + TOLD_EVERY * (more + 1)


def _cut(text: str, width: int) -> str:
    """As much of the text as a terminal shows in so many columns: Chinese characters take two."""
    taken = 0
    for place, character in enumerate(text):
        taken += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if taken > width:
            return text[:place]
    return text


_speaker = _Speaker()
os.register_at_fork(  # the thread does not go with it, so it must not be writing, nor hold the lock
    before=lambda: _speaker.lock.acquire(),
    after_in_parent=lambda: _speaker.lock.release(),
    after_in_child=_speaker.reset,
)
