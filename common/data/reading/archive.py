"""Unpacking zips of others: no more than is allowed, and nowhere else."""

import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from common.errors import PodiumError

GB = 10**9
MOST_GB = 64.0  # that a zip unpacks to, and
RATIO = 100  # times its own size; pixels rarely shrink to a tenth
FREE = GB // 10  # bytes for which the ratio does not count: little files of one colour shrink well


def unzip(path: Path, folder: Path, wanted: Callable[[str], bool], most_gb: float | None = None) -> None:
    """Unpack those files of a zip whose names are wanted into a folder, which the caller removes if this fails.

    most_gb: bytes that they may take, whatever the zip's size; None: 64 GB and 100 times the zip.

    Raises PodiumError for what is no zip, is damaged, encrypted or too large, and for names that lead out of the
    folder or are links.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and wanted(one.filename)]
            for member in members:
                _check_name(path, member)
            most = _most(path, most_gb)
            if sum(member.file_size for member in members) > most:
                raise _too_large(path, most)
            left = most
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as out:  # checks its CRC
                    while data := source.read(2**20):
                        left -= len(data)
                        if left < 0:  # it is larger than it says
                            raise _too_large(path, most)
                        out.write(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PodiumError(f"{path} cannot be unpacked: {error}; get it anew") from error


def read_member(path: Path, ending: str, most: int) -> bytes | None:
    """The first file of a zip whose name has this ending; None if there is none.

    Raises BadZipFile where it is damaged, or of more than `most` bytes.
    """
    with zipfile.ZipFile(path) as archive:
        member = next((one for one in archive.infolist() if one.filename.endswith(ending)), None)
        if member is None:
            return None
        if member.file_size > most:
            raise zipfile.BadZipFile(f"{member.filename} has {member.file_size} bytes, more than {most}")
        return archive.read(member)


def _most(path: Path, most_gb: float | None) -> int:
    if most_gb is not None:
        return int(most_gb * GB)
    return int(min(MOST_GB * GB, max(FREE, RATIO * path.stat().st_size)))


def _too_large(path: Path, most: int) -> PodiumError:
    return PodiumError(
        f"{path} cannot be unpacked: it holds more than {most / GB:g} GB, being of {path.stat().st_size / GB:g} GB; "
        "if that is right, unpack it yourself and name the folder, or allow more by data.unzip_gb"
    )


def _check_name(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or PureWindowsPath(name).drive or "\\" in name:
        raise PodiumError(f"{path} cannot be unpacked: «{name}» leads out of its folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise PodiumError(f"{path} cannot be unpacked: «{name}» is a link")
