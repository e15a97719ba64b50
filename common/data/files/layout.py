"""How a folder of class folders is laid out, by its names: taken for what it is, or refused with what was seen."""

import csv
import json
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from common.data.files.found import has_picture, is_data, is_picture, listed, once, pictures_below
from common.errors import PodiumError
from common.text import few, nfc, printable

_WHAT = r"[-_ ]?(set|data|images?|imgs?|pictures|pics|photos|jpe?g|png|folder|split|\d+)*$"
TRAIN = re.compile(rf"(train|training|trainval|trn){_WHAT}")
VALID = re.compile(rf"(val|valid|validation|dev|eval){_WHAT}")
TEST = re.compile(rf"(tests?|testing|tst|holdout){_WHAT}")
# The same as a word among others, which counts where several folders have such words: seg_train beside seg_test
WORDS = {
    TRAIN: re.compile(r"(^|[^a-z])(train|training|trn)([^a-z]|$)|训练"),
    VALID: re.compile(r"(^|[^a-z])(val|valid|validation|dev)([^a-z]|$)|验证"),
    TEST: re.compile(r"(^|[^a-z])(test|testing|tst)([^a-z]|$)|测试"),
}
# What holds pictures or class folders, and is no class itself
HOLDER = re.compile(
    r"(all[-_ ]?)?(images?|imgs?|pictures|pics|photos|jpe?gs?|jpegimages|pngs?|data|dataset|raw|masks?|annotations?|"
    r"labels?|originals?|augmented|fold[-_ ]?\d+)$"
)
TABLES = (".csv", ".tsv", ".json")
LABELS = re.compile(r"train|label|annot|truth|class|meta|instances", re.IGNORECASE)
COLUMN = re.compile(r"label|class|target|categor|species|breed|diagnos|type", re.IGNORECASE)
# What folders may be named by that is no class
GROUP = re.compile(r"patient|subject|study|series|site|session|donor", re.IGNORECASE)
MOST = 16 * 2**20  # bytes of a table that are looked at
MOST_OF_JSON = 512 * 2**20  # bytes of a JSON, which can only be read whole
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
    kinds = _kinds(inside)
    train = _one(folder, [name for name in inside if kinds[name] is TRAIN])
    others = {name for name in inside if kinds[name] in (VALID, TEST)}
    if train is None and others:  # images/<class>/ beside test/
        train = _one(folder, [name for name in inside if HOLDER.match(name.lower())])
    if train is not None and (found := _unwrapped(train)) and _filled(found):
        layout = _parts(folder, inside, train, found)
    else:
        if inside and all(kinds[name] or _is_reserved(name) for name in inside):
            raise _no_classes(folder, inside)
        if others:
            raise PodiumError(
                f"{folder}: {few(sorted(others))} stands among class folders ({few(sorted({*inside} - others))}): "
                "move these into train/, or rename it if it is a class"
            )
        _check_no_parts_within(folder, inside)
        layout = Layout(folder)
    _check_classes(root, layout.train)
    _check_table(root, layout.train)
    for place in dict.fromkeys((root, folder, layout.train)):
        if loose := _loose(place):
            once(f"left aside: {loose} pictures that lie in {printable(place)} itself, in no class folder")
    return layout


def _parts(folder: Path, inside: list[str], train: Path, classes: Path) -> Layout:
    kinds = _kinds(inside)
    valid = _one(folder, [name for name in inside if kinds[name] is VALID])
    test = _one(folder, [name for name in inside if kinds[name] is TEST])
    taken = {part.name for part in (train, valid, test) if part is not None}
    known = {nfc(name) for name in _filled(classes)}
    if valid is not None:
        valid = _part(valid, known)
        strange = [name for name in _filled(valid) if nfc(name) not in known]
        if strange or not _filled(valid):
            raise PodiumError(
                f"{valid} should hold the class folders of {classes} ({few(sorted(known))}), but "
                + (f"holds {few(strange)}" if strange else "its pictures lie in no class folders")
                + ": sort its pictures into class folders, or move it out of the data"
            )
    labelled = False
    if test is not None:
        inner = _part(test, known)
        found = {nfc(name) for name in _filled(inner)}
        # one folder of many classes' names is no sorting: 000/ may be a class there and a part of a path here
        sorted_there = found == known or len(found) > 1
        labelled = sorted_there and found <= known and not _loose(inner)
        test = inner if labelled else test
    return Layout(classes, valid, test, labelled, tuple(name for name in inside if name not in taken))


def _kinds(names: list[str]) -> dict[str, re.Pattern[str] | None]:
    """Which part each folder is by its name: TRAIN, VALID, TEST or None."""
    found = {name: next((kind for kind in WORDS if kind.match(name.lower())), None) for name in names}
    by_word = {
        name: found[name] or next((kind for kind, word in WORDS.items() if word.search(name.lower())), None)
        for name in names
    }
    return by_word if len({*by_word.values()} - {None}) > 1 else found


def _check_no_parts_within(folder: Path, inside: list[str]) -> None:
    """Classes that are divided into parts, each by itself: cats/train/, cats/val/."""
    within = [{*_filled(folder / name)} for name in inside]
    shared = set.intersection(*within) if within else set()
    if len({*_kinds(sorted(shared)).values()} - {None}) > 1:
        raise PodiumError(
            f"{folder}: each of {few(inside)} holds {few(sorted(shared))}: expected is the other way round, "
            "train/<class name>/ and val/<class name>/"
        )


def _is_reserved(name: str) -> bool:
    return any(kind.match(name.lower()) for kind in (TRAIN, VALID, TEST, HOLDER))


def _unwrapped(folder: Path) -> Path:
    """The folder, or what it holds where that is a single folder that holds folders of pictures: archive/<classes>."""
    for _ in range(DEEPEST):
        inside = _filled(folder)
        if len(inside) != 1 or not (deeper := _filled(folder / inside[0])):
            break
        if _loose(folder) and not any(
            _kinds(deeper).values()
        ):  # a picture beside archive/train/ is no reason
            break
        folder = folder / inside[0]
    return folder


def _part(folder: Path, known: set[str]) -> Path:
    """Where the class folders of a part are, or whatever else it holds."""
    return folder if {nfc(name) for name in _filled(folder)} <= known else _unwrapped(folder)


def _one(folder: Path, names: list[str]) -> Path | None:
    if len(names) > 1:
        raise PodiumError(
            f"{folder}: {few(names)} could each be the same part: rename those that are not meant, or name one of "
            "them by data.root"
        )
    return folder / names[0] if names else None


def _filled(folder: Path) -> list[str]:
    """Names of the folders in it that hold a picture, however deep, or nothing at all, as a class may by mistake."""
    inside = [child for child in listed(folder) if child.is_dir() and is_data(child.name)]
    empty = {child for child in inside if not listed(child)}
    return [
        child.name
        for child in inside
        if (child in empty and not _is_reserved(child.name)) or (child not in empty and has_picture(child))
    ]


def _loose(folder: Path) -> int:
    """Pictures that lie in the folder itself."""
    return sum(path.is_file() and is_data(path.name) and is_picture(path) for path in listed(folder))


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


def _tables(folder: Path) -> list[Path]:
    """Tables whose names say that they may hold labels."""
    return [
        path
        for path in listed(folder)
        if path.is_file()
        and path.suffix.lower() in TABLES
        and is_data(path.name)
        and LABELS.search(path.stem)
    ]


def _check_table(root: Path, folder: Path) -> None:
    """A table that names the pictures, and not their folders, says other labels than the folders do."""
    places = [place for place in (folder, *folder.parents) if root in (place, *place.parents)]
    tables = [table for place in places for table in _tables(place)]
    if not tables:
        return
    folders: dict[str, set[str]] = {}
    for path in pictures_below(folder).pictures:
        inside = nfc(path.relative_to(folder).as_posix())
        for name in (path.stem, path.name, inside):
            folders.setdefault(name, set()).add(inside.partition("/")[0])
    for table in tables:
        if row := _contradiction(table, folders):
            raise PodiumError(
                f"{table} says of pictures of {folder} what their folders do not, such as {printable(row[:80])}: "
                "tables of labels are not read. Sort the pictures into folders named by their classes, or move the "
                "table out of the data where the folders are right"
            )
        once(f"{printable(table)} is not read: the classes are the folders' names")


def _contradiction(table: Path, folders: dict[str, set[str]]) -> str | None:
    """A row whose label is another than that of its picture's folder; None where a column has a label for each folder.

    folders: names of pictures → class folders in which there is such a picture.
    """
    rows = _rows(table)
    if not rows or not rows[0]:
        return None
    named = [sum(at < len(row) and nfc(row[at]) in folders for row in rows[1:]) for at in range(len(rows[0]))]
    pictures = named.index(max(named))  # the column of the pictures' names
    columns = [at for at, name in enumerate(rows[0]) if COLUMN.search(name) and at != pictures]
    groups = [at for at, name in enumerate(rows[0]) if GROUP.search(name) and at not in (pictures, *columns)]
    places = [folders.get(nfc(row[pictures]), set()) if len(row) > pictures else set() for row in rows[1:]]
    # the others are no pictures, or pictures of one name in several folders
    known = [(row, min(place)) for row, place in zip(rows[1:], places, strict=True) if len(place) == 1]
    against = []
    for at in columns + groups:
        label_of: dict[str, str] = {}
        folder_of: dict[str, str] = {}
        for row, name in known:
            cell = row[at] if at < len(row) else ""
            if cell and (label_of.setdefault(name, cell) != cell or folder_of.setdefault(cell, name) != name):
                against += [",".join(row)] * (at in columns)
                break
        else:
            if len(label_of) > 1:  # this column agrees, and others tell of other things
                return None if at in columns else f"{rows[0][at]}: {', '.join(sorted(folder_of)[:3])}"
    return against[0] if against else None


def _rows(table: Path) -> list[list[str]]:
    """Of a table, its header first; of a JSON as COCO has it, the files' names and their categories."""
    if table.suffix.lower() == ".json":
        return _categories(table)
    data = table.read_bytes()[:MOST]
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")
    try:
        return list(csv.reader(StringIO(text), delimiter="\t" if table.suffix.lower() == ".tsv" else ","))
    except csv.Error:
        return []


def _categories(table: Path) -> list[list[str]]:
    if table.stat().st_size > MOST_OF_JSON:
        return []
    try:
        content = json.loads(table.read_bytes())
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        labels = [(files[one["image_id"]], str(one["category_id"])) for one in content["annotations"]]
    except (ValueError, KeyError, TypeError):  # of another kind
        return []
    return [["file_name", "category_id"], *([Path(file).name, label] for file, label in labels)]
