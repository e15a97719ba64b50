"""A job ends with the process that started it, however that ended: SIGKILL included."""

import os
import signal
import threading
from collections.abc import Sequence

FLAG = "--die-with-parent"
VERBS = ("job", "train")  # of `python -m common`: those that the flag is for


def with_lifeline(command: Sequence[str]) -> list[str]:
    """The command with the flag behind it where it is one of Podium's jobs; else as it is."""
    is_ours = list(command[1:3]) == ["-m", "common"] and {*command[3:4]} <= {*VERBS}
    return [*command, FLAG] if is_ours else list(command)


def hold() -> None:
    """End this process, with exit code 137, once whoever holds the other end of its stdin is gone.

    And let it be stopped: Ray's workers block SIGINT, and what they start inherits that.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_wait_for_the_end, name="lifeline", daemon=True).start()


def held() -> bool:
    """Whether a launcher has started this process as one of its jobs."""
    return any(thread.name == "lifeline" for thread in threading.enumerate())


def _wait_for_the_end() -> None:
    while os.read(0, 1024):
        pass
    os._exit(137)
