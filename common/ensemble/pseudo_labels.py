"""What the teachers of a stage say of pictures that nobody has labelled."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.data import predictions
from common.data.edits.unlabelled import unlabelled_records
from common.data.reading.images import ImageError
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import job_name, stages_of, taught_table
from common.run.members import Member
from common.run.predictor import Ensemble

BATCH = 128


def write_pseudo_labels(run: Path, config: dict[str, Any]) -> None:
    """Write the mean of a stage's teachers, each over its test-time views, for `data.unlabelled`, unless it is there.

    config: of a job of the stage. Without unlabelled pictures this does nothing. Pictures that cannot be read are
    left out and counted.
    """
    path = taught_table(config, run)
    if path is None:
        return
    members = teachers(run, config["job"]["soft_labels_from"])
    ends = [(member.job / "done").stat().st_mtime_ns for member in members]
    if path.exists() and path.stat().st_mtime_ns > max(ends):
        return
    table = unlabelled_records(Path(config["data"]["unlabelled"]))
    bad: list[ImageError] = []
    ids: list[str] = []
    paths = [Path(one) for one in table["path"]]
    predicted = Ensemble("arithmetic", members).predict(table["id"].tolist(), paths, BATCH, bad)

    def pieces() -> Iterator[np.ndarray]:
        while piece := list(islice(predicted, predictions.ROWS)):
            ids.extend(image for image, _ in piece)
            yield np.stack([row for _, row in piece])
        if not ids:
            raise PodiumError(
                f"data.unlabelled: none of {len(table)} pictures could be read, the first: {bad[0]}"
            )

    # ids are known once their pieces are: those of pictures that can be read
    predictions.write(path, ids, np.full(len(table), -1), pieces())
    certainty = config["data"].get("certainty", 0.9)
    sure = int((predictions.read_top(path)["probability"] >= certainty).sum())
    left_out = f", {len(bad)} could not be read" if bad else ""
    print(
        f"{sure} of {len(ids)} unlabelled pictures are certain enough to be trained on{left_out}", flush=True
    )


def check_teachers(config: dict[str, Any], run: Path) -> None:
    """Raise PodiumError if a stage's unlabelled pictures, or teachers that come from another run, are not there."""
    if taught_table(config, run) is not None:
        unlabelled_records(Path(config["data"]["unlabelled"]))
        teachers(run, config["job"]["soft_labels_from"])


def teachers(run: Path, origin: str) -> list[Member]:
    """The models of a stage of this run, or of the last stage with folds of another: those that teach out of fold."""
    stages = stages_of(folder.load_config(run))
    if origin not in stages:
        if Path(origin).is_file():
            raise PodiumError(
                f"data.unlabelled: {origin} is a table; name the run folder of the teachers instead"
            )
        run, stages = Path(origin), stages_of(folder.load_config(Path(origin)))
        origin = [name for name, stage in stages.items() if stage["folds"]][-1]
    return [Member(run / "jobs" / job_name(origin, fold)) for fold in range(stages[origin]["folds"])]
