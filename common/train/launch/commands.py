"""Commands become processes: what all launchers share."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from common.activity import silent
from common.train.launch.parent_watch import FLAG, with_lifeline

ASKED_TO_STOP = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class Batch:
    """Commands and what became of them. Threads may share one.

    Attributes:
        codes: of each command its exit code, 128 + n where signal n ended it; None: it was never started.
        signal: the last one that asked this process to stop, or None.
        closed: nothing more is to be started: a signal came, a command was stopped by one, or, with
            `stop_on_failure`, a command failed.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        stop_on_failure: bool = False,
        on_start: Callable[[int], None] | None = None,
        on_end: Callable[[int, int], None] | None = None,
    ) -> None:
        self.commands = [list(command) for command in commands]
        self.codes: list[int | None] = [None] * len(commands)
        self.signal: int | None = None
        self.closed = False
        self._stop_on_failure = stop_on_failure
        self._on_start, self._on_end = on_start, on_end
        self._running: set[subprocess.Popen[bytes]] = set()
        self._one_at_a_time = threading.Lock()

    def run(self, number: int, environment: Mapping[str, str] | None = None, beside: bool = False) -> None:
        """Run one command from start to end here, unless the batch is closed.

        beside: others run at the same time, so that what it prints comes line by line through this process. Else it has
        the terminal for itself.
        """
        if self.closed:
            return
        self.started(number)
        try:
            with (
                nullcontext() if beside else silent(),
                start(self.commands[number], environment, piped=beside) as process,
            ):
                self._running.add(process)
                if self.signal is not None:  # it came in between
                    process.send_signal(self.signal)
                for line in process.stdout or ():
                    print(line.decode(errors="replace"), end="", flush=True)
                code = process.wait()
                self._running.discard(process)
        except OSError as error:
            code = no_such_program(self.commands[number], error)
        self.ended(number, exit_code(code))

    def started(self, number: int) -> None:
        sys.stdout.flush()
        with self._one_at_a_time:
            if self._on_start is not None:
                self._on_start(number)

    def ended(self, number: int, code: int) -> None:
        with self._one_at_a_time:
            self.codes[number] = code
            if code in ASKED_TO_STOP or (code and self._stop_on_failure):
                self.closed = True
            if self._on_end is not None:
                self._on_end(number, code)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT go to the running processes, which save before they end, and close the batch."""

        def forward(signum: int, frame: Any) -> None:
            self.signal, self.closed = signum, True
            for process in list(self._running):
                process.send_signal(signum)

        if threading.current_thread() is not threading.main_thread():  # others may not set handlers
            yield
            return
        before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.signal is not None and not {*self.codes} & {*ASKED_TO_STOP}:
            os.kill(os.getpid(), self.signal)  # it came between two commands: none took it, so it is for us


def start(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    piped: bool = False,
) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that a terminal's Ctrl-C reaches it once, through its parent.

    environment: what to set besides this process's own. piped: what it prints is to be read from its `stdout`.
    """
    words = with_lifeline(command)
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE if words[-1] == FLAG else subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        cwd=folder,
        process_group=0,
    )


def exit_code(code: int) -> int:
    """Python's -n for a process that signal n ended as the shell's 128 + n."""
    return code if code >= 0 else 128 - code


def no_such_program(command: Sequence[str], error: OSError) -> int:
    """Say that a command could not even be started; returns the shell's exit code for that."""
    print(f"{command[0]}: {error.strerror or error}", file=sys.stderr)
    return 127
