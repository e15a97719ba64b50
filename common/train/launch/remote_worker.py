"""Commands on other hosts: one attendant beside each, and a folder by which they and the launcher tell each other.

The folder, `notes`, must be seen by all. In it: a file `<number>` once that command has started; `stop`, the
number of the signal to pass on (0: only start nothing more); and `alive`, touched as long as the launcher lives.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.train.launch.commands import Batch, exit_code, no_such_program, start

POLL = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Attended:
    """A command in the hands of an engine. `result` returns its exit code or None, or raises if the engine failed."""

    done: Callable[[], bool]
    result: Callable[[], int | None]
    cancel: Callable[[], None]


def attend(
    command: Sequence[str],
    number: int,
    notes: Path,
    folder: str,
    environment: Mapping[str, str],
    patience: float,
) -> int | None:
    """Run a command in `folder` and obey the notes.

    patience: seconds without a sign of life from the launcher, after which the command is asked to save and end.

    Returns its exit code, or None if the notes said stop before it began.
    """
    stop, alive = notes / "stop", notes / "alive"
    if stop.exists():
        return None
    (notes / str(number)).touch()
    try:
        process = start(command, environment, folder)
    except OSError as error:
        return no_such_program(command, error)
    with process:
        heard, since, order = _read(alive), time.monotonic(), ""
        try:
            while process.poll() is None:
                time.sleep(POLL)
                if (said := _read(stop)) != order and said.strip().isdecimal():
                    order = said
                    if int(said):
                        process.send_signal(int(said))
                if (said := _read(alive)) != heard:
                    heard, since = said, time.monotonic()
                elif time.monotonic() - since > patience:
                    process.terminate()
                    since = time.monotonic()
        except BaseException:  # the engine wants this place back, such as at the end of its time
            process.terminate()
            process.wait(30)
            raise
    return exit_code(process.returncode)


def follow(batch: Batch, notes: Path, tasks: Sequence[Attended]) -> None:
    """Keep the notes and the batch up to date until every command has ended or will never start."""
    left, beat = dict(enumerate(tasks)), 0
    begun: set[int] = set()
    while left:
        beat += 1
        (notes / "alive").write_text(str(beat))
        if batch.closed and _read(notes / "stop") != str(batch.signal or 0):
            (notes / "stop").write_text(str(batch.signal or 0))
        for number in sorted(
            number for number in left if number not in begun and (notes / str(number)).exists()
        ):
            begun.add(number)
            batch.started(number)
        for number, task in list(left.items()):
            if task.done():
                code = _result(task, batch.commands[number])
                if code is not None:
                    if number not in begun:  # the engine lost it before its attendant said so
                        batch.started(number)
                    batch.ended(number, code)
                del left[number]
            elif batch.closed and number not in begun:
                task.cancel()
                del left[number]
        time.sleep(POLL)


def _result(task: Attended, command: Sequence[str]) -> int | None:
    try:
        return task.result()
    except Exception as error:  # whatever became of the attendant, its command failed
        print(f"{' '.join(command)}\n  was lost: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
