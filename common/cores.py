"""How many CPU cores this process may use."""

import os


def cores() -> int:
    """Those that it is bound to, at least 1: in a container or a job of Slurm often fewer than the machine has."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return bound or 1
