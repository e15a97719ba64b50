"""TinyMind 2018: 100 brush characters, in the contest's layout."""

from pathlib import Path

import pandas as pd

from common.data.files.found import images_below, is_data, on_disk
from common.data.module import ImageData
from common.data.records import class_folders, records
from common.errors import PodiumError
from common.text import nfc
from competitions.calligraphy.sample import write_sample


class CalligraphyData(ImageData):
    """Grey pictures of single characters, of any size.

    `train/<character>/<file>`, `test1/<file>` or `test2/<file>`. Optional lists, UTF-8:
    `label_list.txt` (`character index` a line) fixes the classes' order; `train.txt` and `valid.txt`
    (`train/<character>/<file> index`) fix the split; `test1.txt`, `test2.txt` (paths) fix the order of a submission.
    """

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        names = read_label_list(self.root / "label_list.txt")
        lists = [self.root / f"{part}.txt" for part in ("train", "valid")]
        found = [path for path in lists if path.exists()]
        if len(found) == 1:
            raise PodiumError(
                f"{found[0]} is there without {({*lists} - {*found}).pop().name}: give both or neither"
            )
        if not found:
            return class_folders(self.root / "train", names, base=self.root)
        tables = [self._listed(path, path.stem, names) for path in lists]
        table = pd.concat(tables, ignore_index=True).sort_values("id", ignore_index=True)
        both = table["id"][table["id"].duplicated()]
        if len(both):
            raise PodiumError(f"{self.root}: {both.iloc[0]} stands in train.txt and in valid.txt: keep one")
        return table, names or self._names()

    def test_records(self) -> pd.DataFrame:
        for part in ("test2", "test1"):
            if (self.root / f"{part}.txt").exists():
                lines = _lines(self.root / f"{part}.txt")
                return records(
                    self.root,
                    [on_disk(self.root / line) for _, line in lines],
                    [-1] * len(lines),
                    keep_order=True,
                )
            if images := images_below(self.root / part):
                return records(self.root, images, [-1] * len(images))
        return super().test_records()

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        write_sample(root, seed)

    def _names(self) -> list[str]:
        folders = (child.name for child in (self.root / "train").iterdir() if child.is_dir())
        return sorted(nfc(name) for name in folders if is_data(name))

    def _listed(self, path: Path, part: str, names: list[str] | None) -> pd.DataFrame:
        """The images of `train.txt` or `valid.txt`, whose lines must agree with the folders and the label list."""
        label_of = {name: label for label, name in enumerate(names or self._names())}
        images, labels = [], []
        for number, line in _lines(path):
            image, _, index = line.rpartition(" ")
            name = Path(image).parent.name
            if name not in label_of:
                raise PodiumError(
                    f"{path}:{number}: «{name}» is no known character; expected train/<character>/<file> index"
                )
            if not index.isdigit() or int(index) != label_of[name]:
                raise PodiumError(
                    f"{path}:{number}: the label of {name} is {label_of[name]}, but the line says «{index}»"
                )
            images.append(on_disk(self.root / image))
            labels.append(label_of[name])
        return records(self.root, images, labels).assign(part=part)


def read_label_list(path: Path) -> list[str] | None:
    """The characters of `label_list.txt` in the order of their indices; None if there is no such file.

    Raises PodiumError for a line that is not `character index`, a doubled character, and gaps in the indices.
    """
    if not path.exists():
        return None
    label_of: dict[str, int] = {}
    for number, line in _lines(path):
        name, _, index = line.rpartition(" ")
        if not name or not index.isdigit():
            raise PodiumError(f"{path}:{number}: expected «character index», got «{line}»")
        if name in label_of:
            raise PodiumError(f"{path}:{number}: «{name}» stands in the list twice")
        label_of[name] = int(index)
    names = sorted(label_of, key=lambda name: label_of[name])
    if sorted(label_of.values()) != list(range(len(names))):
        missing = sorted(set(range(len(names))) - set(label_of.values()))
        raise PodiumError(
            f"{path}: {len(names)} characters need the indices 0 to {len(names) - 1}; {missing[:5]} are missing"
        )
    return names


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines that are not blank."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PodiumError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    return [(number, nfc(line.strip())) for number, line in enumerate(lines, start=1) if line.strip()]
