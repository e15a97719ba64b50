"""Pictures to try: some of a run that its models have not learned from, as far as there are such."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.data.reading.images import Image, ImageError, read
from common.errors import PodiumError
from common.run import folder
from common.run.members import read_folds

MOST = 8
SIDE = 512  # pixels, at most
PARTS = ("score", "choose", "valid")  # no model has seen the first; the last chose the checkpoint


@dataclass(frozen=True)
class Example:
    """name: of its class; jpeg: the picture, encoded; seen: whether all models but one have learned from it."""

    name: str
    jpeg: bytes
    seen: bool = False


def examples(run: Path, class_names: list[str]) -> list[Example]:
    """At most so many held-out pictures of a run, of as many classes as there are; [] where none is left.

    A run of folds may hold none out of all its models: then those that each fold held out.
    Pictures that have moved with their data are looked for below `data.root`.
    """
    try:
        table, config = read_folds(run), folder.load_config(run)
    except (PodiumError, pd.errors.ParserError):
        return []
    table = table[table["class"].isin(class_names)]
    part = next((part for part in PARTS if (table["part"] == part).any()), None)
    held_out = table[table["fold"] >= 0] if part is None else table[table["part"] == part]
    order = np.random.default_rng(0).permutation(len(held_out))  # always the same
    mixed = held_out.iloc[order]
    mixed = mixed.assign(turn=mixed.groupby("class").cumcount()).sort_values("turn", kind="stable")
    found: list[Example] = []
    for row in mixed.head(4 * MOST).to_dict("records"):
        if len(found) < MOST and (image := _read(row, config)) is not None:
            found.append(Example(str(row["class"]), _encoded(image), seen=part is None))
    return found


def _read(row: dict[Any, Any], config: dict[str, Any]) -> Image | None:
    root = config["data"].get("root")
    for path in [row["path"], *([f"{root}/{row['id']}"] if root else [])]:
        try:
            return read(path, channels=3)
        except ImageError:
            continue
    return None


def _encoded(image: Image) -> bytes:
    shrink = min(1.0, SIDE / max(image.shape))
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
