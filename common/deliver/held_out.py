"""Pictures of a run, as its models see them: some that it did not learn from, and some that it did."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.module import ImageData
from common.data.reading.images import ImageError
from common.data.reading.reader import batches
from common.data.records import class_folders
from common.deliver.predict import check_moved
from common.errors import PodiumError
from common.run import folder
from common.run.components import make_data
from common.run.predictor import Ensemble

PARTS = {  # the most honest first
    "score": "the part kept for scores",
    "choose": "the part kept for choices",
    "valid": "what the first model was validated on",
}


@dataclass(frozen=True)
class Pictures:
    """images: uint8 (N, H, W, C), fitted; labels: int64 (N,); what: where they are from, in words.

    calibration: uint8 (M, H, W, C), fitted, of the training part.
    """

    images: np.ndarray
    labels: np.ndarray
    what: str
    calibration: np.ndarray


def pictures(
    ensemble: Ensemble,
    source: str | None,
    changed: Mapping[str, Any],
    most: int,
    calibration: int,
    most_pixels: int | None = None,
) -> Pictures:
    """At most so many, always the same ones, of the class folders in `source` or else of the first model's own data.

    changed: keys of the data that are otherwise now, such as `root`. calibration: how many training pictures.

    Raises PodiumError if there are none.
    """
    preprocessing = ensemble.preprocessings[0]
    data = None
    if source is None or calibration:
        data = _data_of(Path(ensemble.members[0]["job"]), changed)
    if source is not None:
        images, labels = _labelled(source, ensemble.class_names, preprocessing, most, most_pixels)
        what = source
    else:
        assert data is not None and data.table is not None
        part = next((part for part in PARTS if len(data.rows(part))), None)
        if part is None:
            raise PodiumError(
                "the run has no held-out part to check by: name labelled pictures by INPUT=<folder>"
            )
        rows = _some(data.rows(part), most)
        images, labels, what = _fitted(data, rows), data.table["label"].to_numpy()[rows], PARTS[part]
    known = images[:0]
    if calibration:
        assert data is not None
        known = _fitted(data, _some(data.rows("train"), calibration))
    return Pictures(images, labels, what, known)


def _data_of(job: Path, changed: Mapping[str, Any]) -> ImageData:
    config = folder.load_config(job)
    config = {**config, "data": {**config["data"], **changed}}
    check_moved(config)
    data = make_data(config, job.parent.parent)
    data.setup()
    return data


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, in their order, drawn by chance: even steps would fall in with the data's order."""
    return np.sort(np.random.default_rng(0).choice(rows, min(most, len(rows)), replace=False))


def _fitted(data: ImageData, rows: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C), by the very code that validation reads them with."""
    found = data.valid_images.__getitems__([(0, int(row)) for row in rows])["image"]
    return np.ascontiguousarray(found.numpy().transpose(0, 2, 3, 1))


def _labelled(
    source: str,
    class_names: list[str],
    preprocessing: dict[str, Any],
    most: int,
    most_pixels: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    table = class_folders(Path(source), class_names, allow_empty=True)[0]
    table = table.iloc[_some(np.arange(len(table)), most)]
    paths = [Path(path) for path in table["path"]]
    bad: list[ImageError] = []
    images, positions = [], []
    for good, fitted, errors in batches(paths, [preprocessing], 128, most_pixels):
        bad.extend(errors)
        if good:
            images.append(fitted[0])
            positions += good
    if not images:
        raise PodiumError(f"none of the {len(paths)} pictures could be read; the first: {bad[0]}")
    if bad:
        print(f"{len(bad)} pictures could not be read and are left out, the first: {bad[0]}")
    return np.concatenate(images), table["label"].to_numpy()[positions]
