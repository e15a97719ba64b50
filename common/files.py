"""Writing files that a reader never finds half, and saying once why one could not be written."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import PodiumError
from common.text import quoted

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # a disk that takes nothing more


@contextmanager
def written(path: Path, suffix: str = "partial", sync: bool = True, follow: bool = False) -> Iterator[Path]:
    """A file to write in the block, which becomes `path` when the block ends, and is removed if it fails.

    A block may move the file elsewhere: then `path` stays as it is.

    suffix: of the file until then; one's own where several processes may write `path` at a time.
    sync: see it to the disk, which takes milliseconds, before it becomes `path`: after a power cut it is whole.
    follow: for a path that the caller has named: a link stays, and what it points to is replaced; what is no regular
        file, such as /dev/null, /dev/stdout or a pipe, is written into. Else it is replaced itself, since whoever made
        the folder may have laid a link there that leads to a file of the caller's.

    Raises PodiumError where it cannot be written.
    """
    try:
        if follow and is_stream(path):
            with TemporaryDirectory(prefix="podium-") as folder:
                partial = Path(folder, f"partial{path.suffix}")
                yield partial
                if partial.exists():
                    with partial.open("rb") as source, path.open("ab") as stream:
                        shutil.copyfileobj(source, stream)
            return
        target = Path(os.path.realpath(path)) if follow else path
        partial = target.with_name(f".{target.name}.{suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            yield partial
            if partial.exists():
                if sync:
                    with partial.open("rb") as file:
                        os.fsync(file.fileno())
                partial.replace(target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def is_stream(path: Path) -> bool:
    """Whether a path names something to write into, rather than a file to make or to replace."""
    name = os.path.abspath(path)
    for _ in range(40):  # links: /dev/stdout may lead to a file, which its shell writes into
        if name.startswith(("/dev/", "/proc/")) and not name.startswith("/dev/shm/"):
            return True
        if not os.path.islink(name):
            break
        name = os.path.abspath(os.path.join(os.path.dirname(name), os.readlink(name)))
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_text(path: Path, text: str, follow: bool = False) -> None:
    """Write a file whole or not at all; see `written`."""
    with written(path, follow=follow) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; where `path` is a link, what it points to. Raises PodiumError if it cannot."""
    try:
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def check_inside(out: Path, run: Path) -> Path:
    """`out`, where a verb writes by itself. Raises PodiumError if links lead out of the run folder."""
    if not Path(os.path.realpath(out)).is_relative_to(os.path.realpath(run)):
        raise PodiumError(f"{out} is a link that leads out of the run folder: name another place by OUT=")
    return out


@contextmanager
def made(folder: Path, partial: Path | None = None) -> Iterator[None]:
    """While a folder is made by way of `partial`, which goes if that fails.

    partial: None: `.<name>.partial` beside it. Raises PodiumError where the disk is at fault.
    """
    try:
        yield
    except BaseException as error:
        shutil.rmtree(partial or folder.with_name(f".{folder.name}.partial"), ignore_errors=True)
        if isinstance(error, OSError):
            raise unwritable(folder, error) from error
        raise


def unwritable(path: Path | str, error: OSError) -> PodiumError:
    """The error as a message for the user."""
    why = os.strerror(error.errno) if error.errno else str(error)
    hint = ""
    if error.errno in FULL - {errno.EROFS, errno.EIO}:
        hint = f": make room there (df -h {quoted(Path(path).parent)}), then give the same command again"
    elif error.errno == errno.EROFS:
        hint = ": name another place"
    return PodiumError(f"{path} could not be written: {why}{hint}")
