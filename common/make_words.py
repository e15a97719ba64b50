"""The words that `make` was given by ARGS=, taken as a shell would part them, and nothing more: no `$`, no `;`.

`python -m common.make_words <module> …` runs a module with them behind its own arguments.
"""

import glob
import os
import runpy
import shlex
import sys

from common.errors import PodiumError

VARIABLE = "PODIUM_ARGS"


def words_of_make() -> list[str]:
    """The words, once: processes that this one starts are not given them again.

    Raises PodiumError where a quote is not closed.
    """
    text = os.environ.pop(VARIABLE, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        lacks = (
            "a quote in it is not closed" if "quotation" in str(error) else "a \\ at its end escapes nothing"
        )
        raise PodiumError(
            f"ARGS={text}: {lacks}. Quote the whole for the shell and a value within it otherwise, as in "
            "ARGS=\"model.name='a b'\""
        ) from None


def main() -> None:
    """Patterns such as tests/*.py are the names of files, where there are any."""
    try:
        words = [name for word in words_of_make() for name in sorted(glob.glob(word)) or [word]]
    except PodiumError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [*sys.argv[1:], *words]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
