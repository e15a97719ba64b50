"""What the teachers of a stage say of pictures that nobody has labelled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common.data.images import ImageError
from common.data.unlabelled import unlabelled_records
from common.errors import PodiumError
from common.run import folder, predictions
from common.run.ensemble import Ensemble
from common.run.members import Member, read_members
from common.run.stages import job_name, stages_of, taught_table

BATCH = 128


def write_pseudo_labels(run: Path, config: dict[str, Any]) -> None:
    """Write the mean of a stage's teachers, each over its test-time views, for `data.unlabelled`, unless it is there.

    config: of a job of the stage. Without unlabelled pictures this does nothing. Pictures that cannot be read are
    left out and counted.
    """
    path = taught_table(config, run)
    if path is None or path.exists():
        return
    table = unlabelled_records(Path(config["data"]["unlabelled"]))
    ensemble = Ensemble("arithmetic", _teachers(run, config["job"]["soft_labels_from"]))
    bad: list[ImageError] = []
    ids: list[str] = []

    def rows() -> Iterator[np.ndarray]:
        paths = [Path(one) for one in table["path"]]
        for image, row in ensemble.predict(table["id"].tolist(), paths, BATCH, bad):
            ids.append(image)
            yield row[None]

    pieces = np.concatenate(list(rows()))
    predictions.write(path, ids, np.full(len(ids), -1), pieces)
    sure = int((pieces.max(axis=1) >= config["data"].get("certainty", 0.9)).sum())
    left_out = f", {len(bad)} could not be read" if bad else ""
    print(
        f"{sure} of {len(ids)} unlabelled pictures are certain enough to be trained on{left_out}", flush=True
    )


def _teachers(run: Path, origin: str) -> list[Member]:
    stages = stages_of(folder.load_config(run))
    if origin in stages:
        return [Member(run / "jobs" / job_name(origin, fold)) for fold in range(stages[origin]["folds"])]
    if Path(origin).is_file():
        raise PodiumError(
            f"data.unlabelled: {origin} is a table; name the run folder of the teachers instead"
        )
    return read_members(Path(origin))[1]
