"""What to do with a run next, as commands that fit what is there and can be pasted."""

import shlex
from pathlib import Path

from common.config.command import command
from common.errors import PodiumError
from common.run.environment import NAME
from common.run.folder import load_config, load_json

# Words of a call that say which run is meant, in place of which the command names the run.
_OF_THE_CALL = ("competition=", "run_dir=", "new=")


def after_training(run: Path) -> list[str]:
    """For a finished run or blend. `photos` and `labelled` stand for folders that only the reader knows."""
    name = load_config(run)["competition"]
    return [
        *([command("predict", COMP=name, RUN=run)] if _has_test(run) else []),
        command("predict", COMP=name, RUN=run, INPUT="photos"),
        command("evaluate", COMP=name, RUN=run, INPUT="labelled"),
    ]


def resume(run: Path) -> str:
    """For a run that has not ended: the words that it was begun with, since others would be another run."""
    name, words = load_config(run)["competition"], []
    if (run / NAME).exists():
        called = shlex.split(str(load_json(run / NAME).get("command", "")))
        words = called[called.index("train") + 1 :] if "train" in called else []
    kept = [word for word in words if not word.startswith(_OF_THE_CALL)]
    return command("train", kept, COMP=name, RUN=run)


def _has_test(run: Path) -> bool:
    """Whether there are pictures to predict without INPUT=, by whoever would read them."""
    from common.run.components import make_data  # imports torch

    try:
        return bool(len(make_data(load_config(run), run).test_records()))
    except (PodiumError, OSError, KeyError):
        return False
