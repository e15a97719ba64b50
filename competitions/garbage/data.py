"""Huawei 2019: photographs of household waste, in the contest's flat layout."""

import os
from pathlib import Path

import pandas as pd
from pytorch_lightning.utilities import rank_zero_only

from common.data.files.found import images_below
from common.data.module import ImageData
from common.data.records import records
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from competitions.garbage.labels import RULE, Fault, groups, read_labels, read_rule
from competitions.garbage.sample import write_sample


class GarbageData(ImageData):
    """`train_data/img_1.jpg` beside `train_data/img_1.txt` (`img_1.jpg, 0`), and the rule file with the classes' names.

    The pictures may lie in the root itself, too. The classes are `group/item`; the groups are a level above them,
    `group`. What no label file names well is left out, counted, and listed in `bad_labels.csv` of the run folder.
    `test/<file>` is what a submission predicts.

    Args:
        others: see ImageData. `max_bad_share` is of the labels, too.
    """

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        names = read_rule(self.root / RULE)
        self.levels = _levels(names)
        folder = self.root / "train_data" if (self.root / "train_data").is_dir() else self.root
        labelled, faults = read_labels(folder, len(names))
        self._report_faults(folder, faults, len(labelled) + len(faults))
        if not labelled:
            raise PodiumError(
                f"{folder} holds no labelled picture: expected img_1.jpg and, beside it, img_1.txt with "
                "«img_1.jpg, 0»"
            )
        paths, labels = zip(*labelled, strict=True)
        return records(self.root, paths, labels), names

    def test_records(self) -> pd.DataFrame:
        test = self.root / "test"
        if not test.is_dir():
            return super().test_records()
        images = images_below(test)
        return records(self.root, images, [-1] * len(images))

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        write_sample(root, seed)

    @rank_zero_only
    def _report_faults(self, folder: Path, faults: list[Fault], total: int) -> None:
        if not faults:
            return
        path = self.folder / "bad_labels.csv"
        to_csv(pd.DataFrame(faults), path, str(os.getpid()))  # jobs side by side write it at a time
        message = (
            f"{len(faults)} of {total} labels in {folder} are no good; they are listed with reasons in {path}"
        )
        if len(faults) > self.max_bad_share * total:
            raise PodiumError(
                f"{message}\nThat is more than data.max_bad_share={self.max_bad_share}: mend or remove them, or raise "
                f"the share. The first: {faults[0].file}: {faults[0].reason}"
            )
        print(f"left out: {message}")


def _levels(class_names: list[str]) -> dict[str, list[int]]:
    """The level above the classes; none where all are of one group."""
    of_class, names = groups(class_names)
    return {"group": of_class} if len(names) > 1 else {}
