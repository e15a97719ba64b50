"""Files below a folder as people have them: which are data, which are pictures, and what is left aside.

Linked folders are entered, as torchvision's ImageFolder enters them; a link that leads back to a folder above is not.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.data.reading.formats import FOREIGN, SUFFIXES, foreign
from common.data.reading.image_size import is_known
from common.errors import PodiumError
from common.processes import is_first_process
from common.text import nfc, printable, utf8

# of NAS, macOS, Windows and ext file systems; others of their kind begin with a dot
SYSTEM = {
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "lost+found"),
    *("$recycle.bin", "recycler", "system volume information", "network trash folder", "temporary items"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
_NAMED = re.compile(
    r"\.[^.]*[a-z][^.]*$"
)  # a suffix that says what a file is: not the end of `1.2.840` or `scan.07`


@dataclass
class Found:
    """What lies below a folder.

    pictures: sorted; those of formats that are not decoded among them, so that each is named as one that cannot be
        read. Names that are not UTF-8 are written as `utf8` does.
    others: suffix → number of files that are no pictures.
    hidden: number of hidden files and of files in systems' folders.
    """

    pictures: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(self.pictures + other.pictures, self.others + other.others, self.hidden + other.hidden)

    def left_aside(self) -> str:
        """What is no picture, in words; empty where nothing is."""
        kinds = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in self.others.most_common(6)]
        more = sum(self.others.values()) - sum(count for _, count in self.others.most_common(6))
        kinds += [f"{more:,} others"] * bool(more)
        said = [f"{', '.join(map(printable, kinds))} (no pictures)"] * bool(kinds)
        said += [f"{self.hidden:,} hidden files and files of systems' folders"] * bool(self.hidden)
        return " and ".join(said)


def is_data(name: str) -> bool:
    """Whether a file or folder of this name is data, neither hidden nor of a system."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def pictures_below(folder: Path) -> Found:
    """All pictures below a folder, by suffix in any case, without one by content; none of a folder that is not there.

    Raises PodiumError for a folder that must not be read.
    """
    found = Found()
    for path, data in _files(folder):
        if not data:
            found.hidden += 1
        elif is_picture(path):
            found.pictures.append(Path(utf8(str(path))))
        else:
            found.others[_suffix(path.name)] += 1
    found.pictures.sort()
    return found


def hidden_in(folder: Path) -> Found:
    """Of what lies in a folder itself, the hidden files and those of systems' folders."""
    inside = [child for child in listed(folder) if not is_data(child.name)]
    return Found(hidden=sum(sum(1 for _ in _files(child)) if child.is_dir() else 1 for child in inside))


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name. Raises PodiumError for one that must not be read."""
    return [Path(entry.path) for entry in _entries(folder)]


def has_picture(folder: Path) -> bool:
    """Whether there is a picture below a folder."""
    return any(data and is_picture(path) for path, data in _files(folder))


def is_picture(path: Path) -> bool:
    """Whether a file is one by its suffix, or without one by its first bytes."""
    suffix = _suffix(path.name)
    return suffix in SUFFIXES or suffix in FOREIGN or (not suffix and _begins_as_picture(path))


def images_below(folder: Path) -> list[Path]:
    """The pictures of `pictures_below`; what is left aside is printed, once for each folder."""
    found = pictures_below(folder)
    tell(folder, found)
    return found.pictures


def files_below(folder: Path, suffixes: set[str]) -> list[Path]:
    """Every file below `folder` with one of these suffixes (lower case), sorted, but what is hidden or a system's."""
    return sorted(
        Path(utf8(str(path)))
        for path, data in _files(folder)
        if data and os.path.splitext(path.name)[1].lower() in suffixes
    )


def on_disk(path: Path) -> Path:
    """A path that a list names, as its folders and its file are written on the disk, in whatever form of Unicode."""
    if path.exists() or str(path).isascii():
        return path
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        inside = {nfc(child): child for child in os.listdir(found)} if found.is_dir() else {}
        found /= part if (found / part).exists() else inside.get(nfc(part), part)
    return found


def tell(folder: Path, found: Found) -> None:
    """Print what is left aside below a folder, once."""
    if said := found.left_aside():
        once(f"left aside below {printable(folder)}: {said}")


def once(line: str) -> None:
    """Print a line unless it has been: jobs of one process, and processes of one job, read the same data."""
    if line not in _told and is_first_process():
        _told.add(line)
        print(line, flush=True)


_told: set[str] = set()


def _suffix(name: str) -> str:
    """Lower case, with its dot; empty where there is none, or none that says anything."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if _NAMED.search(suffix) else ""


def _begins_as_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return is_known(head) or foreign(head) is not None


def _files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every regular file below a folder, and broken links, each with whether it is data."""
    if not folder.is_dir():
        return
    inside, *above = (os.stat(one) for one in (folder, *folder.absolute().parents))
    places = tuple((found.st_dev, found.st_ino) for found in above)
    if (inside.st_dev, inside.st_ino) not in places:  # else a link to a folder above
        yield from _walk(folder, True, ((inside.st_dev, inside.st_ino), *places))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError as error:
        raise PodiumError(
            f"{folder} cannot be read ({error.strerror}): allow it (chmod +rx), or move it elsewhere"
        ) from error


def _walk(folder: Path, data: bool, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, bool]]:
    try:
        entries = _entries(folder)
    except PodiumError:
        if not data:
            return
        raise
    for entry in entries:
        counts = data and is_data(entry.name)
        if os.path.isdir(entry):  # which a link to itself is not, and raises nothing
            found = entry.stat()
            if (place := (found.st_dev, found.st_ino)) not in above:
                yield from _walk(Path(entry.path), counts, (*above, place))
        elif os.path.isfile(entry) or not os.path.exists(entry):
            # no pipe, which would never end; of a broken link it is said that it is one
            yield Path(entry.path), counts
