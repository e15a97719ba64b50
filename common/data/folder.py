"""A folder of class folders: any labelled images, without code."""

from functools import cached_property

import pandas as pd

from common.data.files.found import images_below, once
from common.data.files.layout import Layout, layout
from common.data.module import ImageData
from common.data.records import class_folders, records
from common.text import printable


class FolderData(ImageData):
    """`root/<class name>/**/<image>`; the folders' names are the classes.

    Where `root`, or the only folder in it, holds a folder `train` (or training, train_images, …) of class folders,
    these are trained on; `val` beside it validates instead of a share, `test` with class folders of the same names is
    scored. `make predict` predicts any `test`. With folds, the pictures of `val` join those that are divided. See
    common/data/files/layout.py.
    """

    @cached_property
    def layout(self) -> Layout:
        found = layout(self.root)
        if (said := found.said(self.root)) is not None:
            once(said)
        return found

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        table, names = class_folders(self.layout.train, base=self.root)
        parts = {"valid": self.layout.valid, "score": self.layout.test if self.layout.labelled else None}
        given = {part: folder for part, folder in parts.items() if folder is not None}
        if not given:
            return table, names
        tables = [table.assign(part=None)]
        for part, folder in given.items():
            found, _ = class_folders(folder, names, base=self.root, allow_empty=True)
            joins = part == "valid" and self.folds is not None  # which validate by themselves
            if joins:
                once(f"stages have folds: the pictures of {printable(folder.name)}/ join those of training")
            tables.append(found.assign(part=None if joins else part))
            self.shares[part] = 0.0
        return pd.concat(tables, ignore_index=True).sort_values("id", ignore_index=True), names

    def test_records(self) -> pd.DataFrame:
        if self.layout.test is None:
            return super().test_records()
        images = images_below(self.layout.test)
        return records(self.root, images, [-1] * len(images))
