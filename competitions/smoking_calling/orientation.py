"""Pictures that lie on their side or stand on their head: those which a run's models know better once turned.

`python -m competitions.smoking_calling.orientation RUN` writes a list `id,degrees` to look through; with
`ARGS=data.orientation=<list>` training and predicting turn these pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.data.reading.images import Image, ImageError, fit_to, read
from common.data.spreadsheet import to_csv
from common.run.components import make_data
from common.run.folder import load_config
from common.run.members import combine
from common.run.predictor import Ensemble
from competitions.smoking_calling.commands import main

SURE, MARGIN = 0.8, 0.3  # how probable the best class must be once turned, and by how much more than as it is


def turns(confidences: np.ndarray) -> np.ndarray:
    """Degrees clockwise by which each picture should be turned, 0 for most: int64 (N,).

    confidences: float (N, 4), the best class's probability after 0, 90, 180 and 270 degrees.
    """
    best = confidences.argmax(axis=1)
    sure = confidences.max(axis=1)
    clearly = (sure >= SURE) & (sure - confidences[:, 0] >= MARGIN)
    return np.where(clearly, 90 * best, 0)


def confidences(ensemble: Ensemble, image: Image) -> np.ndarray:
    """The best class's probability after 0, 90, 180 and 270 degrees clockwise: float32 (4,)."""
    turned = [np.ascontiguousarray(np.rot90(image, -quarters)) for quarters in range(4)]
    each = []
    for module in ensemble.modules:
        stack = np.stack([fit_to(view, module.preprocessing) for view in turned]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(stack)).to(module.device).float().div_(255)
            each.append(module.step_hooks.predict(images).float().cpu().numpy())
    return combine(np.stack(each), ensemble.mean).max(axis=1)


def report(run: Path) -> Path:
    """Look at the test and the training pictures as they are in their files; writes and returns `orientation.csv`."""
    config = load_config(run)
    data = make_data({**config, "data": {**config["data"], "orientation": None}}, run)
    tables = [data.records()[0]] + ([data.test_records()] if (data.root / "test").is_dir() else [])
    table = pd.concat(tables, ignore_index=True)
    ensemble = Ensemble.of_run(run)
    found = [
        (image, row) for image, row in _looked_at(ensemble, table["id"].tolist(), table["path"].tolist())
    ]
    degrees = turns(np.stack([row for _, row in found]))
    listed = pd.DataFrame({"id": [image for image, _ in found], "degrees": degrees})
    listed = listed[listed["degrees"] > 0]
    path = run / "orientation.csv"
    to_csv(listed, path)
    print(f"{len(listed)} of {len(found)} pictures seem to be turned; look at them before you use the list")
    return path


def _looked_at(
    ensemble: Ensemble, ids: Sequence[str], paths: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, confidences) of the pictures that can be read."""
    channels = ensemble.modules[0].preprocessing["channels"]
    for image, path in zip(ids, paths, strict=True):
        try:
            yield image, confidences(ensemble, read(path, channels))
        except ImageError:
            continue


if __name__ == "__main__":
    main(report)
