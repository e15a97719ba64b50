"""Records: the one table that all data work goes through, one row an image.

Columns: `id` (str, unique, stays the same when the data set moves: the path relative to the data root, with `/`),
`path` (str, absolute), `label` (int64 in 0..K-1, -1 where unknown), `group` (str: images that must stay on one side
of a split share it), `source` (str: where the image comes from, may be empty).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.data.files.found import hidden_in, is_data, is_picture, pictures_below, tell
from common.data.reading.images import ImageError
from common.data.spreadsheet import read_csv, to_csv
from common.errors import PodiumError
from common.text import few, nfc, printable, utf8

COLUMNS = ["id", "path", "label", "group", "source"]


def records(
    root: Path, paths: Sequence[Path], labels: Sequence[int], keep_order: bool = False
) -> pd.DataFrame:
    """The table of the images `paths` (below `root`), each in a group of its own, ordered by id or as given.

    A name that is not UTF-8 is written as `utf8` writes it: no such file is found, and `read` says why.
    """
    ids = [image_id(path, root) for path in paths]
    table = pd.DataFrame(
        {"id": ids, "path": [utf8(str(path)) for path in paths], "label": labels, "group": ids, "source": ""}
    )
    table = table.astype({"id": str, "path": str, "label": "int64", "group": str, "source": str})
    doubled = table["id"][table["id"].duplicated()]
    if len(doubled):
        raise PodiumError(
            f"{root}: {len(doubled)} images are listed more than once, the first is {printable(doubled.iloc[0])}"
        )
    return table if keep_order else table.sort_values("id", ignore_index=True)


def image_id(path: Path, root: Path) -> str:
    """What a picture is called wherever it lies: its path below `root`, with `/`, as UTF-8 in NFC."""
    return nfc(utf8(path.relative_to(root).as_posix()))


def bad_table(errors: list[ImageError]) -> pd.DataFrame:
    """Columns path and reason, as `bad_images.csv` lists them."""
    return pd.DataFrame([(error.path, error.reason) for error in errors], columns=["path", "reason"])


def leave_out(errors: list[ImageError], folder: Path) -> None:
    """Say which pictures could be read once and no more, and add them to the folder's `bad_images.csv`."""
    if not errors:
        return
    path, found = folder / "bad_images.csv", bad_table(errors)
    if path.exists():
        found = pd.concat([read_csv(path, dtype=str, keep_default_na=False), found]).drop_duplicates("path")
    to_csv(found, path, str(os.getpid()))
    print(
        f"left out: {len(errors)} pictures can be read no more, the first is {errors[0]}; all are listed in {path}",
        flush=True,
    )


def class_folders(
    root: Path, class_names: Sequence[str] | None = None, base: Path | None = None, allow_empty: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Records of `root/<class name>/**/<image>` and the class names.

    `class_names` fixes the order of the labels; without it the folders' names, sorted, are the classes. A name with a
    slash is a folder within a folder. Ids are relative to `base`, by default `root`. Names are compared and given as
    NFC. What is left aside is printed.

    Raises PodiumError for a missing root, a folder that is no known class and, unless `allow_empty`, a class
    without images.
    """
    if not root.is_dir():
        raise PodiumError(
            f"{root} is not a folder: expected one folder per class in it, with that class's images"
        )
    names = None if class_names is None else [nfc(name) for name in class_names]
    deep = max((name.count("/") for name in names or ()), default=0)
    folders: dict[str, Path] = {}
    for path in sorted(root.glob("/".join("*" * (deep + 1)))):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and not path.exists() and is_data(path.name) and not is_picture(path):
            raise PodiumError(
                f"{path} is a link to {os.readlink(path)}, which is not there: bring it back, or remove it"
            )
        if path.is_dir() and all(map(is_data, path.relative_to(root).parts)):
            if name != utf8(name):
                raise PodiumError(f"{root}: the folder «{printable(utf8(name))}» is not UTF-8: rename it")
            if nfc(name) in folders:
                raise PodiumError(
                    f"{root}: two folders are called «{printable(name)}», in two forms of Unicode: put their pictures "
                    "into one"
                )
            folders[nfc(name)] = path
    names = sorted(folders) if names is None else names
    if not names:
        raise PodiumError(f"{root} holds no class folders: expected {root}/<class name>/<image>.jpg")
    unknown = [name for name in folders if name not in set(names)]
    if unknown:
        raise PodiumError(
            f"{root}: {len(unknown)} folders are not among the {len(names)} known classes, "
            f"the first is «{printable(unknown[0])}»"
        )
    if not folders:
        raise PodiumError(f"{root} holds no class folders: expected {root}/{names[0]}/<image>.jpg and so on")
    label_of = {name: label for label, name in enumerate(names)}
    found = {name: pictures_below(path) for name, path in folders.items()}
    everything = sum(found.values(), hidden_in(root))
    tell(root, everything)
    empty = [name for name in names if name not in found or not found[name].pictures]
    if empty and (len(empty) == len(names) or not allow_empty):
        aside = everything.left_aside()
        raise PodiumError(
            f"{root}: {len(empty)} of {len(names)} classes have no images ({few(empty)}): "
            "add images to these folders, or take the classes out" + f". Left aside: {aside}" * bool(aside)
        )
    pairs = [(path, label_of[name]) for name in names if name in found for path in found[name].pictures]
    return records(base or root, [path for path, _ in pairs], [label for _, label in pairs]), names
