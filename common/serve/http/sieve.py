"""What the C libraries of this process write to standard error, without their remarks on clients' pictures.

libpng and libjpeg write there by themselves, a line or more for a picture, and OpenCV offers no way to stop them. So a
small process of its own reads it, and passes on all that is none of these remarks. It outlives a service that is
aborted: what a library says last is seen. Python's own `sys.stderr` does not go through it.

As a script, this file is that process: it imports nothing of Podium.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# libpng's, and all warnings in libjpeg's table of messages (jerror.h)
REMARK = re.compile(
    rb"libpng (warning|error): |Corrupt JPEG data: |Premature end of JPEG file|Warning: unknown JFIF revision"
    rb"|Invalid SOS parameters for|Inconsistent progression sequence|Unknown Adobe color transform"
    rb"|Application transferred too|Invalid crop request|Warning: thumbnail image size|\s*$"  # an end that came late
)


@contextmanager
def sieved() -> Iterator[None]:
    """Meanwhile file 2 leads through the sieve, and `sys.stderr` to where file 2 has led."""
    sys.stderr.flush()
    stderr, terminal = sys.stderr, os.dup(2)
    sieve = subprocess.Popen(  # in a session of its own: Ctrl-C at a terminal is not meant for it
        [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=terminal, start_new_session=True
    )
    assert sieve.stdin is not None
    os.dup2(sieve.stdin.fileno(), 2)
    sieve.stdin.close()
    # Never closed: loggers and threads may keep it.
    sys.stderr = open(terminal, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = stderr
        os.dup2(terminal, 2)  # by which the last way into the sieve is closed
        sieve.wait()


def main() -> None:
    """From standard input to standard output; remarks are counted, and the count told at 1, 10, 100, …"""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when what it reads ends
    count, tell = 0, 1
    for line in sys.stdin.buffer:
        if not REMARK.match(line):
            sys.stdout.buffer.write(line)
        elif line.strip():
            count += 1
            if count < tell:
                continue
            tell *= 10
            print(f"remarks of libpng and libjpeg on clients' pictures that are left out here: {count}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
