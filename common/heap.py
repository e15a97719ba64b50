"""What the C library does with freed memory."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>, mallopt(3)
NEVER = -1  # give back
SETTLED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for what is allocated next; returns whether it does.

    By default glibc maps every array above 32 MB anew and gives it back when it is freed: a network whose feature maps
    are that large then spends a fifth of its training, and half of its predictions, on page faults. What is kept stays
    the process's until its end: its peak counts, which grows by some tenths since blocks of many sizes fit less well.

    Nothing is done where the C library is another, or where the user has settled it by a variable: MALLOC_MMAP_MAX_,
    another of `SETTLED`, or GLIBC_TUNABLES.
    """
    settled = any(name in os.environ for name in SETTLED) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    if sys.platform != "linux" or settled:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
