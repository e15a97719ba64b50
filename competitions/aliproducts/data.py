"""AliProducts 2020: photographs of 50,030 products, in the contest's layout."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from common.data.edits.kept_list import repeats
from common.data.files.found import images_below
from common.data.module import ImageData
from common.data.records import records
from common.data.split.stored_split import StoredSplit
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from competitions.aliproducts.prepare import Settings, prepare, prepared_folder
from competitions.aliproducts.sample import write_sample

PREPARED = Path("data") / "aliproducts" / "prepared"
LISTS = ("train", "balance", "reliable")


class AliproductsData(ImageData):
    """Colour photographs of products, of any size, with a long tail.

    `train/%05d/<image_id>`, `val/%05d/<image_id>`, `train.json`, `val.json`, `product_tree.json`,
    `test/<file>`. What is trained on is prepared first, once: see prepare.py. `val.json` is the validation part;
    without it a share `valid` of each class is. `choose` and `score` are shares of train.json. Without
    `product_tree.json` there are no levels.

    Stages may train on different lists and on different classes: the class names, in ascending order of the
    contest's numbers, are those of the window.

    Args:
        list: what is trained on: train (all), balance (at most 400 of a class) or reliable (what cleaning has kept).
            Cleaning leaves out of training alone: what the run's split holds out stays, whatever the list says of it.
        window: [least, most] images, in that list, that a class must have to be among the classes; null: no bound.
        reliable: list of cleaning (see common/data/edits/kept_list.py), for «reliable»; null: the
            stage's own (clean_from), or `reliable_train.parquet` in the run folder.
        balance: how `prepare` balances: original (400, 200, 100 or all) or capped (at most 400).
        others: see ImageData.
    """

    allow_absent_classes = (
        True  # of thousands of classes, one whose pictures cannot be read does not stop the run
    )

    def __init__(
        self,
        *,
        list: str = "train",
        window: list[int | None] | None = None,
        reliable: str | None = None,
        balance: str = "original",
        **others: Any,
    ) -> None:
        super().__init__(**others)
        if list not in LISTS:
            raise PodiumError(f"data.list must be one of {', '.join(LISTS)}, got {list}")
        self.train_list = list
        self.window = bounds(window)
        if list == "reliable":
            if reliable and not Path(reliable).is_file():
                raise PodiumError(f"data.reliable: there is no list {reliable}")
            own = self.cleaned or self.folder / "reliable_train.parquet"
            self.cleaned = Path(reliable) if reliable else own
        self.settings = Settings(balance)

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        prepared = self.prepare()
        classes = pd.read_parquet(prepared / "classes.parquet")
        table, trained = self._chosen(prepared, classes["class_id"].tolist())
        counts = np.bincount(table["label"][trained], minlength=len(classes))
        inside = (counts >= self.window[0]) & (counts <= self.window[1])
        if not inside.any():
            most = f"{counts.max():,}" if len(table) else "no"
            raise PodiumError(
                f"data.window={list(self.window)}: no class of the list «{self.train_list}» has so many images; "
                f"they have {counts[counts > 0].min(initial=counts.max()):,} to {most}"
            )
        table["part"] = None
        if (prepared / "val.parquet").exists():
            self.shares["valid"] = 0.0  # all that is validated is given
            held = _rows(prepared, "val").assign(part="valid")
            if not inside[held["label"]].any():
                raise PodiumError(f"data.window={list(self.window)}: val.json has no image of these classes")
            table = pd.concat([table, held], ignore_index=True)
        new_label = np.where(inside, np.cumsum(inside) - 1, -1)
        table = table[inside[table["label"]]].reset_index(drop=True)
        table["label"] = new_label[table["label"]]
        table["path"] = str(self.root.resolve()) + "/" + table["id"]
        table["group"], table["source"] = table["id"], ""
        chosen = classes[inside].assign(label=np.arange(inside.sum()), images=counts[inside])
        self._take_levels(chosen)
        self._save(chosen)
        return table if table["part"].notna().any() else table.drop(columns="part"), chosen[
            "class_id"
        ].tolist()

    def test_records(self) -> pd.DataFrame:
        test = self.root / "test"
        if not test.is_dir():
            return super().test_records()
        images = images_below(test)
        return records(self.root, images, [-1] * len(images))

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        write_sample(root, seed)

    def prepare(self) -> Path:
        """Tables of the lists, balanced and checked, and of the classes; returns the prepared folder."""
        return prepare(
            self.root, prepared_folder(PREPARED.resolve(), self.root, self.settings), self.settings
        )

    def _chosen(self, prepared: Path, class_names: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
        """id and label of images, and bool (N,): which of them are in the chosen list.

        Of what cleaning has not kept, pictures stay that the run's split knows; without a split all do, to be divided.
        """
        table = _rows(prepared, "balance_train" if self.train_list == "balance" else "train")
        if self.train_list != "reliable":
            return table, np.ones(len(table), bool)
        assert self.cleaned is not None
        alone = table.assign(train_only=False, group=table["id"])
        kept = repeats(alone, class_names, self.cleaned) > 0
        known = StoredSplit.read(self.folder / "folds.csv", self.stored_split).places(table)
        there = (
            np.ones(len(table), bool) if known is None else kept | table["id"].isin(known["id"]).to_numpy()
        )
        return table[there].reset_index(drop=True), kept[there]

    def _take_levels(self, chosen: pd.DataFrame) -> None:
        for name in (column for column in chosen if column.startswith("level")):
            self.levels[name] = pd.factorize(chosen[name], sort=True)[0].tolist()

    def _save(self, chosen: pd.DataFrame) -> None:
        """`classes_<list>_<least>-<most>.csv` in the run folder: label → class, and how many images it has."""
        low, high = self.window
        name = f"classes_{self.train_list}_{low:.0f}-{'' if high == np.inf else f'{high:.0f}'}.csv"
        columns = ["label", "class_id", "images", *self.levels]
        to_csv(
            chosen[columns], self.folder / name, str(os.getpid())
        )  # jobs side by side may write it at once


def bounds(window: list[int | None] | None) -> tuple[float, float]:
    """(least, most) images of a class; 1 and infinity where null. Raises PodiumError for what is no window."""
    if window is None:
        return 1, np.inf
    if len(window) != 2:
        raise PodiumError(f"data.window must be [least, most] images of a class, or null; got {window}")
    low, high = (
        default if value is None else value for value, default in zip(window, (1, np.inf), strict=True)
    )
    if not 1 <= low <= high:
        raise PodiumError(f"data.window must be [least, most] with 1 <= least <= most, got {window}")
    return low, high


def _rows(prepared: Path, name: str) -> pd.DataFrame:
    table = pq.read_table(prepared / f"{name}.parquet", columns=["path", "label"]).to_pandas()
    return table.rename(columns={"path": "id"})
