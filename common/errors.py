"""The one exception whose message is meant for the user, and how damaged files become one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PodiumError(Exception):
    """Something the user can mend: bad configuration, bad input, a run folder in use.

    The message says what is wrong (file, key or line), what was expected and what to do. The command line
    prints it without a traceback and exits with code 2.
    """


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """What goes wrong inside is said as a fault of this file: readers fail in as many ways as files can be damaged."""
    try:
        yield
    except PodiumError as error:
        if str(path) in str(error):
            raise
        raise PodiumError(f"{path}: {error}") from error
    except OSError as error:
        raise PodiumError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:300]
        raise PodiumError(f"{path} is damaged: {type(error).__name__}: {said}") from error
