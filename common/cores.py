"""How many CPU cores and which GPUs this process may use."""

import os
from pathlib import Path

from common.errors import PodiumError

SHARE = "PODIUM_THREADS"  # set for a job that was launched beside others: so many are its share
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """The cores that this process is bound to, that its container may use at a time, and that are its share, >= 1.

    In a container, in a job of Slurm or beside other jobs these are fewer than the machine has.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(bound, quota(), _share(bound))))


def check_count(key: str, count: int | None) -> None:
    """Raise PodiumError for so many threads or processes that this machine would only switch between them."""
    most = 4 * max(4, os.cpu_count() or 1)
    if count is not None and count > most:
        raise PodiumError(f"{key} must be at most {most} on this machine, four times its CPUs; got {count}")


def quota() -> float:
    """Cores' worth of time that the container may use (cgroup v2); infinite without a limit."""
    try:
        allowed, period = QUOTA.read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError):  # no cgroup v2, or «max»
        return float("inf")


def gpus() -> list[str]:
    """The GPUs that CUDA may use, as `CUDA_VISIBLE_DEVICES` names them; torch is not imported for it."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        named = [name.strip() for name in chosen.split(",")]
        return named[: named.index("-1")] if "-1" in named else [name for name in named if name]
    there = Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in range(len(list(there)))]


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep soon while they wait for each other; for what is imported after this.

    By default those of GNU's library spin at full speed for long. Beside other work on the same cores they then wait
    for threads that do not run because others spin. With a short spin a training alone is as fast, and two at a time
    are twice as fast; without any (OMP_WAIT_POLICY=PASSIVE) one alone lost some per cent. Whoever has settled it by one
    of these variables is left alone.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _share(otherwise: int) -> int:
    text = os.environ.get(SHARE, "")
    return int(text) if text.isdecimal() else otherwise
