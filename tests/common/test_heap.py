import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

FAULTS = """
import resource
import numpy as np
from common.heap import keep_freed_memory

print(keep_freed_memory() if {keep} else None)
for again in range(10):
    if again == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(100 * 2**20, 7, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool, **variables: str) -> tuple[str, int]:
    """What the function says, and the page faults of nine arrays of 100 MB, each freed before the next."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)],
        env=environment | {"NUMPY_MADVISE_HUGEPAGE": "0"} | variables,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said, faults = done.stdout.split()
    return said, int(faults)


@glibc
def test_large_arrays_are_not_fetched_from_the_system_again_and_again():
    assert page_faults(keep=False)[1] > 9 * 100 * 2**20 // 2**16  # a page has at most 64 KiB
    said, faults = page_faults(keep=True)
    assert said == "True" and faults < 100


@glibc
@pytest.mark.parametrize(
    "variable",
    [("MALLOC_MMAP_THRESHOLD_", "1000000"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000000")],
)
def test_what_the_user_has_settled_stands(variable):
    said, faults = page_faults(keep=True, **dict([variable]))
    assert said == "False" and faults > 9 * 100 * 2**20 // 2**16
