"""What the C library does with freed memory."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>, mallopt(3)


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for what is allocated next; returns whether it does.

    By default glibc maps every array above 32 MB anew and gives it back when it is freed: a network whose feature maps
    are that large then spends a fifth of its training, and half of its predictions, on page faults. What is kept stays
    the process's until its end: its peak counts, which grows by some tenths since blocks of many sizes fit less well.

    Nothing is done where the C library is another, or where the user has settled it by a variable MALLOC_….
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
