""".gnt files wherever they are: one, a folder of them, or in zips, which are unpacked once."""

import hashlib
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from common.data.raw import Raw
from common.data.records import files_below
from common.errors import PodiumError
from common.run.folder import DATA, lock
from competitions.hccr.gnt import HEAD, GntIndex

SUFFIX = ".gnt"


def has_gnt(source: Path) -> bool:
    """Whether a file is a .gnt or a zip, or a folder holds one of either."""
    return bool(_packed_or_not(source))


def gnt_files(source: Path) -> list[tuple[str, Path]]:
    """(name, path) of every .gnt file that `source` is or holds, by name.

    A name is the path below the folder; a file in a zip has the name that it has there, behind the zip's own name
    without `.zip` where the zip is one of a folder.

    Raises PodiumError if there is none, and for a zip that cannot be unpacked.
    """
    found = {}
    for path in _packed_or_not(source):
        name = PurePosixPath(path.name if source.is_file() else path.relative_to(source).as_posix())
        if path.suffix.lower() == SUFFIX:
            found[str(name)] = path
        else:
            prefix = PurePosixPath() if source.is_file() else name.with_suffix("")
            inside = unpack(path)
            below = (one for one in inside.rglob("*") if one.is_file())
            found |= {str(prefix / one.relative_to(inside).as_posix()): one for one in below}
    if not found:
        raise PodiumError(f"{source}: there is no .gnt file, and no zip of them")
    return sorted(found.items())


def pictures(files: list[tuple[str, Path]], index: GntIndex) -> tuple[list[str], list[str]]:
    """Ids, `<file>#<number>`, and paths, see common/data/raw.py, of the records of an index of these files."""
    names = [name for name, _ in files]
    places = [str(path) for _, path in files]
    file, number = index.file.tolist(), index.number.tolist()
    ids = [f"{names[at]}#{count}" for at, count in zip(file, number, strict=True)]
    starts, heights, widths = (index.offset + HEAD).tolist(), index.height.tolist(), index.width.tolist()
    raws = zip(file, starts, heights, widths, strict=True)
    return ids, [str(Raw(places[at], *place)) for at, *place in raws]


def unpack(path: Path) -> Path:
    """The folder that holds the .gnt files of a zip, made at the first call, whole or not at all.

    Raises PodiumError for what is no zip, is damaged or encrypted, or does not fit on the disk.
    """
    found = path.stat()
    key = f"{path.resolve()}\n{found.st_size}\n{found.st_mtime_ns}"
    out = DATA.resolve() / "hccr" / "unpacked" / f"{path.stem}-{hashlib.sha1(key.encode()).hexdigest()[:10]}"
    if out.is_dir():
        return out
    with lock(out.with_name(f".{out.name}"), wait=True):
        if out.is_dir():  # while we waited
            return out
        partial = out.with_name(f".{out.name}") / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        print(f"unpacking {path} into {out}", flush=True)
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if PurePosixPath(member.filename).suffix.lower() == SUFFIX and not member.is_dir():
                        archive.extract(member, partial)  # checks its CRC, and stays below `partial`
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise PodiumError(f"{path} cannot be unpacked: {error}; get it anew") from error
        except OSError as error:
            raise PodiumError(f"{path} cannot be unpacked into {out}: {error.strerror or error}") from error
        partial.rename(out)
    return out


def _packed_or_not(source: Path) -> list[Path]:
    """The .gnt files and zips that `source` is or holds, hidden ones left out."""
    suffixes = {SUFFIX, ".zip"}
    if source.is_file():
        return [source] if source.suffix.lower() in suffixes else []
    return files_below(source, suffixes)
