""".gnt files wherever they are: one, a folder of them, or in zips, which are unpacked once."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from common.data.files.digests import digests
from common.data.files.found import files_below, is_data
from common.data.reading.archive import unzip
from common.data.reading.raw import Raw
from common.errors import PodiumError
from common.files import made
from common.run.folder import DATA, lock
from competitions.hccr.gnt import HEAD, GntIndex

SUFFIX = ".gnt"


def has_gnt(source: Path) -> bool:
    """Whether a file is a .gnt or a zip, or a folder holds a .gnt or a zip of such."""
    found = _packed_or_not(source)
    return bool(found) and (source.is_file() or any(map(_holds_gnt, found)))


def gnt_files(source: Path, most_gb: float | None = None) -> list[tuple[str, Path]]:
    """(name, path) of every .gnt file that `source` is or holds, by name.

    A name is the path below the folder; a file in a zip has the name that it has there, behind the zip's own name
    without `.zip` where the zip is one of a folder. So it is called as it would be if the zip were unpacked beside
    itself, into a folder of its name; what is there already, in such a folder or next to the zip, is not taken twice.

    most_gb: that each zip may unpack to, see common/data/reading/archive.py.

    Raises PodiumError if there is none, and for a zip that cannot be unpacked.
    """
    paths = _packed_or_not(source)
    if source.is_file():
        found = {source.name: source} if source.suffix.lower() == SUFFIX else _members(source, most_gb)
    else:
        zips = [path for path in paths if path.suffix.lower() != SUFFIX]
        loose = {path.relative_to(source).as_posix(): path for path in paths if path not in zips}
        found = dict(loose)
        for path in zips:
            beside = PurePosixPath(path.relative_to(source).as_posix()).parent
            members = _members(path, most_gb)
            twice = {
                name for name in members if {_below(beside / path.stem, name), str(beside / name)} & {*loose}
            }
            if twice:
                print(
                    f"{path}: {len(twice)} of its {len(members)} files are unpacked beside it, and taken from there"
                )
            found |= {
                _below(beside / path.stem, name): members[name] for name in members if name not in twice
            }
    if not found:
        raise PodiumError(f"{source}: there is no .gnt file, and no zip of them")
    return sorted(found.items())


def _members(path: Path, most_gb: float | None) -> dict[str, Path]:
    """The files of a zip by their names in it."""
    inside = unpack(path, most_gb)
    return {
        one.relative_to(inside).as_posix(): one
        for one in inside.rglob("*")
        if one.is_file() and _is_gnt(one.relative_to(inside).as_posix())
    }


def _below(folder: PurePosixPath, name: str) -> str:
    """The name of a zip's file below the zip's folder, which the zip may hold as its own top folder."""
    return str(folder / name.removeprefix(f"{folder.name}/"))


def pictures(files: list[tuple[str, Path]], index: GntIndex) -> tuple[list[str], list[str]]:
    """Ids, `<file>#<number>`, and paths, see common/data/reading/raw.py, of the records of an index of these files."""
    names = [name for name, _ in files]
    places = [str(path) for _, path in files]
    file, number = index.file.tolist(), index.number.tolist()
    ids = [f"{names[at]}#{count}" for at, count in zip(file, number, strict=True)]
    starts, heights, widths = (index.offset + HEAD).tolist(), index.height.tolist(), index.width.tolist()
    raws = zip(file, starts, heights, widths, strict=True)
    return ids, [str(Raw(places[at], *place)) for at, *place in raws]


def unpack(path: Path, most_gb: float | None = None) -> Path:
    """The folder that holds the .gnt files of a zip, made at the first call, whole or not at all.

    most_gb: see `unzip`.

    Raises PodiumError as `unzip` does, and where it does not fit on the disk.
    """
    place = DATA.resolve() / "hccr"
    (key,) = digests([str(path.resolve())], place / "files.sqlite")
    out = place / "unpacked" / f"{path.stem}-{key[:10]}"
    if out.is_dir():
        return out
    with lock(out.with_name(f".{out.name}"), wait=True):
        if out.is_dir():  # while we waited
            return out
        partial = out.with_name(f".{out.name}") / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        print(f"unpacking {path} into {out}", flush=True)
        with made(out, partial):
            unzip(path, partial, _is_gnt, most_gb)
            partial.rename(out)
    return out


def _holds_gnt(path: Path) -> bool:
    """Whether a file is a .gnt, or a zip of such; a damaged zip may be one, and unpacking it says what is wrong."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(map(_is_gnt, archive.namelist()))
    except (zipfile.BadZipFile, OSError):
        return True


def _is_gnt(name: str) -> bool:
    """Whether this file of a zip is a .gnt, and none that a system has put there, such as __MACOSX/._1001-c.gnt."""
    path = PurePosixPath(name)
    return path.suffix.lower() == SUFFIX and all(is_data(part) or part == ".." for part in path.parts)


def _packed_or_not(source: Path) -> list[Path]:
    """The .gnt files and zips that `source` is or holds, hidden ones left out."""
    suffixes = {SUFFIX, ".zip"}
    if source.is_file():
        return [source] if source.suffix.lower() in suffixes else []
    return files_below(source, suffixes)
