"""How a folder of class folders is laid out, by its names: taken for what it is, or refused with what was seen."""

import csv
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.data.found import has_picture, is_data, is_picture, once, pictures_below
from common.errors import PodiumError
from common.text import nfc, printable

_WHAT = r"[-_ ]?(set|data|images?|imgs?|pictures|pics|photos|jpe?g|png|folder|split|\d+)*$"
TRAIN = re.compile(rf"(train|training|trn){_WHAT}")
VALID = re.compile(rf"(val|valid|validation|dev){_WHAT}")
TEST = re.compile(rf"(test|testing|tst){_WHAT}")
# What holds pictures or class folders, and is no class itself
HOLDER = re.compile(
    r"(all[-_ ]?)?(images?|imgs?|pictures|pics|photos|jpe?gs?|jpegimages|pngs?|data|dataset|raw)$"
)
TABLES = (".csv", ".tsv")
LABELS = re.compile(r"train|label|annot|truth|class|meta", re.IGNORECASE)
DEEPEST = 6  # folders that hold nothing but one folder


@dataclass(frozen=True)
class Layout:
    """train: holds the class folders that are trained on. valid: class folders, or None. test: pictures, or None.

    labelled: whether test holds class folders of the same names.
    aside: names of further folders with pictures, which nothing reads.
    """

    train: Path
    valid: Path | None = None
    test: Path | None = None
    labelled: bool = False
    aside: tuple[str, ...] = ()

    def said(self, root: Path) -> str | None:
        """Where the parts are, in words; None where the class folders lie in the root and there is nothing else."""
        if self == Layout(root):
            return None

        def place(folder: Path) -> str:
            return printable(f"{folder.relative_to(root)}/" if folder != root else str(root))

        parts = [f"class folders of training in {place(self.train)}"]
        if self.valid is not None:
            parts.append(f"of validation in {place(self.valid)}")
        if self.test is not None:
            of = "of the score, by which nothing is chosen," if self.labelled else "pictures to be predicted"
            parts.append(f"{of} in {place(self.test)}")
        parts += [f"not read: {', '.join(f'{printable(name)}/' for name in self.aside)}"] * bool(self.aside)
        return "; ".join(parts)


def layout(root: Path) -> Layout:
    """Raises PodiumError where there are no class folders, or only one, or a table says otherwise what is in them."""
    if not root.is_dir():
        raise PodiumError(
            f"{root} is not a folder: expected one folder per class in it, with that class's images"
        )
    folder = _unwrapped(root)
    inside = _filled(folder)
    train = _one(folder, [name for name in inside if TRAIN.match(name.lower())])
    others = {name for name in inside if VALID.match(name.lower()) or TEST.match(name.lower())}
    if train is None and others:  # images/<class>/ beside test/
        train = _one(folder, [name for name in inside if HOLDER.match(name.lower())])
    if train is not None and (found := _unwrapped(train)) and _filled(found):
        layout = _parts(folder, inside, train, found)
    else:
        if inside and all(_is_reserved(name) for name in inside):
            raise _no_classes(folder, inside)
        if others:
            raise PodiumError(
                f"{folder}: {_some(sorted(others))} stands among class folders ({_some(sorted({*inside} - others))}): "
                "move these into train/, or rename it if it is a class"
            )
        layout = Layout(folder)
    _check_classes(root, layout.train)
    _check_table(root, layout.train)
    return layout


def _parts(folder: Path, inside: list[str], train: Path, classes: Path) -> Layout:
    valid = _one(folder, [name for name in inside if VALID.match(name.lower())])
    test = _one(folder, [name for name in inside if TEST.match(name.lower())])
    known = {nfc(name) for name in _filled(classes)}
    if valid is not None:
        valid = _part(valid, known)
        strange = [name for name in _filled(valid) if nfc(name) not in known]
        if strange or not _filled(valid):
            raise PodiumError(
                f"{valid} should hold the class folders of {classes} ({_some(sorted(known))}), but "
                + (f"holds {_some(strange)}" if strange else "its pictures lie in no class folders")
                + ": sort its pictures into class folders, or move it out of the data"
            )
    labelled = False
    if test is not None:
        inner = _part(test, known)
        found = {nfc(name) for name in _filled(inner)}
        labelled = bool(found) and found <= known and not _loose(inner)
        test = inner if labelled else test
    taken = {train.name, *(part.name for part in (valid, test) if part is not None)}
    parts = {name for name in inside if any(kind.match(name.lower()) for kind in (VALID, TEST))}
    return Layout(classes, valid, test, labelled, tuple(name for name in inside if name not in taken | parts))


def _is_reserved(name: str) -> bool:
    return any(kind.match(name.lower()) for kind in (TRAIN, VALID, TEST, HOLDER))


def _unwrapped(folder: Path) -> Path:
    """The folder, or what it holds where that is a single folder that holds folders of pictures: archive/<classes>."""
    for _ in range(DEEPEST):
        inside = _filled(folder)
        if len(inside) != 1 or _loose(folder) or not _filled(folder / inside[0]):
            break
        folder = folder / inside[0]
    return folder


def _part(folder: Path, known: set[str]) -> Path:
    """Where the class folders of a part are, or whatever else it holds."""
    return folder if {nfc(name) for name in _filled(folder)} <= known else _unwrapped(folder)


def _one(folder: Path, names: list[str]) -> Path | None:
    if len(names) > 1:
        raise PodiumError(
            f"{folder}: {_some(names)} could each be the same part: rename those that are not meant, or name one of "
            "them by data.root"
        )
    return folder / names[0] if names else None


def _filled(folder: Path) -> list[str]:
    """Names of the folders in it that hold a picture, however deep, or nothing at all."""
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and is_data(child.name))
    return [child.name for child in inside if not any(child.iterdir()) or has_picture(child)]


def _loose(folder: Path) -> int:
    """Pictures that lie in the folder itself."""
    return sum(path.is_file() and is_data(path.name) and is_picture(path) for path in folder.iterdir())


def _no_classes(folder: Path, inside: list[str]) -> PodiumError:
    seen = [f"{printable(name)}/ ({len(pictures_below(folder / name).pictures)} pictures)" for name in inside]
    seen += [path.name for path in _tables(folder)]
    return PodiumError(
        f"{folder} holds {', '.join(seen)}, and no class folders: expected <class name>/<image>.jpg, or "
        "train/<class name>/<image>.jpg with val/ and test/ beside train/. Tables of labels are not read: sort the "
        "pictures into folders named by their classes"
    )


def _check_classes(root: Path, folder: Path) -> None:
    inside = _filled(folder)
    loose = _loose(folder)
    if not inside:
        aside = pictures_below(folder).left_aside()
        raise PodiumError(
            f"{folder} holds no class folders: expected {folder}/<class name>/<image>.jpg; it holds "
            f"{loose} pictures{f' and {aside}' * bool(aside)}"
        )
    if len(inside) == 1:
        raise PodiumError(
            f"{folder} holds one class folder, «{printable(inside[0])}»: there is nothing to tell apart. Give each "
            "class a folder of its own, one for «something else» perhaps"
        )
    if loose:
        once(f"left aside: {loose} pictures that lie in {printable(folder)} itself, in no class folder")


def _tables(folder: Path) -> list[Path]:
    """Tables whose names say that they may hold labels."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix.lower() in TABLES
        and is_data(path.name)
        and LABELS.search(path.stem)
    )


def _check_table(root: Path, folder: Path) -> None:
    """A table that names the pictures, and not their folders, says other labels than the folders do."""
    places = [place for place in (folder, *folder.parents) if root in (place, *place.parents)]
    tables = [table for place in places for table in _tables(place)]
    if not tables:
        return
    folders: dict[str, set[str]] = {}
    for path in pictures_below(folder).pictures:
        folders.setdefault(path.stem, set()).add(nfc(path.relative_to(folder).parts[0]))
    for table in tables:
        separator = "\t" if table.suffix.lower() == ".tsv" else ","
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = list(islice(csv.reader(file, delimiter=separator), 1, 50))
        named = [(row, folders[stem]) for row in rows for cell in row if (stem := Path(cell).stem) in folders]
        wrong = [row for row, names in named if names.isdisjoint(_words(row))]
        if wrong:
            raise PodiumError(
                f"{table} names pictures of {folder}, such as {printable(','.join(wrong[0])[:80])}, with other labels "
                "than their folders: tables of labels are not read. Sort the pictures into folders named by their "
                "classes, or move the table out of the data where the folders are right"
            )
        once(f"{printable(table)} is not read: the classes are the folders' names")


def _words(row: list[str]) -> list[str]:
    return [part for cell in row for part in Path(nfc(cell)).parts]


def _some(names: list[str]) -> str:
    return ", ".join(map(printable, names[:5])) + f", … {len(names) - 5} more" * (len(names) > 5)
