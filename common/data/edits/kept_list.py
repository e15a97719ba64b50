"""Lists of cleaning: which training images are kept, why, and how often an epoch has each.

Columns id, class, kept (bool), reason, repeat (int64: times in an epoch, 0 where not kept), as Parquet or CSV. See
common/ensemble/clean.py for how they are made; one made by hand needs id, class and kept alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from common.data.spreadsheet import read_csv
from common.errors import PodiumError, reading


def read_reliable(path: Path) -> pd.DataFrame:
    """Columns id and class (str), kept (bool) and repeat (int64). Raises PodiumError naming what is wrong."""
    if not path.is_file():
        raise PodiumError(f"clean_from: there is no list {path}")
    with reading(path):
        found = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            else read_csv(path, dtype={"id": str, "class": str}, keep_default_na=False)
        )
    for column in ("id", "class", "kept"):
        if column not in found:
            raise PodiumError(
                f"{path}: column {column} is missing; there are {', '.join(map(str, found.columns))}"
            )
    if found["kept"].dtype != bool:
        raise PodiumError(f"{path}: column kept must hold True or False in every row")
    doubled = found["id"][found["id"].duplicated()]
    if len(doubled):
        raise PodiumError(f"{path}: {doubled.iloc[0]} stands there twice")
    repeat = found["repeat"] if "repeat" in found else found["kept"]
    return found[["id", "class", "kept"]].assign(repeat=repeat.astype("int64").where(found["kept"], 0))


def repeats(table: pd.DataFrame, class_names: list[str], path: Path) -> np.ndarray:
    """How often an epoch of training has each record, int64 (N,).

    An image that the list does not have is left out if the list has others of its class: a class that nobody has
    judged stays whole. What is made from an image (train_only) goes where all of that go which it shares a group with.

    table: records with `train_only`. path: a list, see above. Raises PodiumError if it fits no record.
    """
    found = read_reliable(path)
    listed = found.set_index("id")["repeat"]
    times = table["id"].map(listed)
    if times.isna().all():
        raise PodiumError(f"{path}: none of its {len(found)} images is among the {len(table)} here")
    known = set(found["class"])
    judged = np.array([name in known for name in class_names])
    times = times.where(times.notna(), pd.Series(~judged[table["label"]], index=table.index).astype("int64"))
    whole = ~table["train_only"]
    groups = pd.DataFrame({"whole": whole, "kept": whole & (times > 0)}).groupby(table["group"])
    made = groups["kept"].transform("any") | ~groups["whole"].transform("any")
    return np.where(whole, times, made).astype(np.int64)
