"""A folder of class folders: any labelled images, without code."""

import pandas as pd

from common.data.module import ImageData
from common.data.records import class_folders, images_below, records


class FolderData(ImageData):
    """`root/<class name>/**/<image>`; the folders' names are the classes.

    Where `root` holds a folder `train`, the class folders are looked for in it, and `root/test` is what a
    submission predicts.
    """

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        train = self.root / "train"
        return class_folders(train if train.is_dir() else self.root, base=self.root)

    def test_records(self) -> pd.DataFrame:
        test = self.root / "test"
        if not test.is_dir():
            return super().test_records()
        images = images_below(test)
        return records(self.root, images, [-1] * len(images))
