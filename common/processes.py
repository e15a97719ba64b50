"""Which of the processes this is that train one model together, and what becomes of them without the first."""

import os
import threading
import time

# one by one they say nothing: torchrun's first process may run on any of Slurm's hosts
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
FIRST = "PODIUM_FIRST"  # the id of the first process, for those that it starts


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks, of all hosts; known before a trainer is made."""
    names = ("RANK",) if "TORCHELASTIC_RUN_ID" in os.environ else RANKS
    return all(os.environ.get(name, "0") == "0" for name in names)


def die_with_first() -> None:
    """End this process, with exit code 137, once the first is gone, if that has started it: nobody waits for it."""
    if FIRST in os.environ and not is_orphan():
        threading.Thread(target=_watch, name="first-process", daemon=True).start()


def is_orphan() -> bool:
    """Whether the first process has started this one and is gone."""
    parent = str(os.getppid())
    return os.environ.get(FIRST, parent) != parent


def _watch() -> None:
    while not is_orphan():
        time.sleep(0.2)
    os._exit(137)
