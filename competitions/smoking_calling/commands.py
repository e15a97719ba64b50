"""What the commands of this folder share: `python -m competitions.smoking_calling.<command> RUN`."""

import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import PodiumError
from common.run.folder import load_config


def main(report: Callable[[Path], Path]) -> None:
    """Call `report` with the run folder of the command line and print where it wrote; mistakes exit with code 2."""
    try:
        if len(sys.argv) != 2:
            raise PodiumError("name one run folder, e.g. runs/smoking_calling/2026-01-01_12-00-00")
        run = Path(sys.argv[1])
        load_config(run)  # says so if it is none
        print(f"written: {report(run)}")
    except PodiumError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
