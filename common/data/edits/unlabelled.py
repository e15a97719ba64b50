"""Pictures without a label that a teacher is sure of: trained on beside the labelled ones, never validated.

Radosavovic et al. 2018, «Data Distillation: Towards Omni-Supervised Learning».
"""

from pathlib import Path

import numpy as np
import pandas as pd

from common.data.files.found import images_below
from common.data.predictions import read_top
from common.data.records import image_id
from common.errors import PodiumError

PREFIX = "unlabelled/"  # of these pictures' ids, so that they cannot be mistaken for labelled ones


def unlabelled_records(folder: Path) -> pd.DataFrame:
    """Records of all pictures below a folder, label -1, train_only."""
    if not folder.is_dir():
        raise PodiumError(f"data.unlabelled: there is no folder {folder}")
    paths = images_below(folder)
    if not paths:
        raise PodiumError(f"data.unlabelled: there are no pictures below {folder}")
    ids = [PREFIX + image_id(path, folder) for path in paths]
    return pd.DataFrame(
        {
            "id": ids,
            "path": [str(path) for path in paths],
            "label": np.full(len(ids), -1, np.int64),
            "group": ids,
            "source": "unlabelled",
            "train_only": True,
        }
    )


def taught_records(folder: Path, table: Path, certainty: float) -> pd.DataFrame:
    """Those of them whose most probable class has at least this probability, with it as their label.

    table: the teachers' mean, see common/data/predictions.py.
    """
    taught = read_top(table)
    sure = taught[taught["probability"] >= certainty].set_index("id")["predicted"]
    found = unlabelled_records(folder)
    found = found[found["id"].isin(sure.index)].reset_index(drop=True)
    return found.assign(label=sure.loc[found["id"]].to_numpy(np.int64))
