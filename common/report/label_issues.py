"""Doubts: images whose label the out-of-fold model does not believe (Northcutt, Jiang and Chuang 2021, by cleanlab)."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.data import predictions
from common.data.edits.corrections import read_corrections
from common.data.spreadsheet import to_csv
from common.run import folder

MOST_CLASSES = 512  # cleanlab works on dense rows
COLUMNS = ["id", "class", "was", "quality", "probability", "reason"]


def find_doubts(table: pd.DataFrame, probabilities: np.ndarray, class_names: list[str]) -> pd.DataFrame:
    """The doubted images, the most doubtful first.

    table: columns id, label, fold. probabilities: float (N, K), by models that have not seen the image: from others
        confident learning finds nothing.
    Returns columns id, class (suggested), was (as labelled), quality (probability of that label, in [0, 1]),
    probability (of the suggestion), reason. A class keeps at least one image that is not doubted.
    """
    from cleanlab.filter import find_label_issues

    labels = table["label"].to_numpy()
    present = np.unique(labels)  # cleanlab wants classes without gaps
    if len(present) < 2:
        return pd.DataFrame(columns=COLUMNS)
    rows = probabilities[:, present]
    rows = rows / rows.sum(axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
    doubted = find_label_issues(
        np.searchsorted(present, labels), rows, min_examples_per_class=1, n_jobs=1, verbose=False
    )
    suggested = present[rows.argmax(axis=1)]
    own = probabilities[np.arange(len(labels)), labels]
    doubted &= suggested != labels
    found = pd.DataFrame(
        {
            "id": table["id"],
            "class": [class_names[label] for label in suggested],
            "was": [class_names[label] for label in labels],
            "quality": own,
            "probability": probabilities[np.arange(len(labels)), suggested],
            "reason": [f"a model that has not seen it says «{class_names[label]}»" for label in suggested],
        }
    )[doubted]
    return found.sort_values("quality", kind="stable", ignore_index=True)


def write_doubts(run: Path, table_path: Path, class_names: list[str]) -> pd.DataFrame | None:
    """Write `doubts.csv`, a list to look through: what is left in it can be given as `data.corrections`.

    None above 512 classes.
    """
    if len(class_names) > MOST_CLASSES:
        return None
    doubts = find_doubts(*predictions.read(table_path), class_names)
    looked_at = folder.load_config(run)["data"].get("corrections")
    if looked_at and Path(looked_at).is_file():  # a person has said what these are
        known = read_corrections(Path(looked_at))["id"]
        doubts = doubts[~doubts["id"].isin(known)].reset_index(drop=True)
    to_csv(doubts, run / "doubts.csv")
    return doubts
