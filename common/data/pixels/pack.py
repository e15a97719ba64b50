"""A pack: pictures of one size, decoded once into one memory-mapped file that all processes share.

A pack is a folder of three files, and safe to remove while nothing trains from it:

    pack.json    what its pictures were made by
    pixels.u8    uint8 (rows, H, W, C): rows are added at the end and never changed
    index.jsonl  a line for each block of rows: place, checksum, the pictures' keys, and what could not be decoded

A picture is found by its key, a hash of its source's bytes. So one rule serves a pack that is new, unfinished,
outgrown or out of date, and a data set that has moved: what has no key in it is added. Pictures that have changed leave
their old row behind.

A block counts once its line is written, which is after its pixels have reached the disk: a kill costs the two blocks
that were being decoded. Whoever finds everything needs no lock; one process at a time adds, others wait for it.

Nothing here knows of files of pictures: a caller gives a key for each picture (`file_keys`) and a function from its
row to its pixels, so that records within larger files can be packed alike.
"""

import fcntl
import hashlib
import inspect
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.activity import Activity, counted, duration
from common.data.files.digests import digests, meaning
from common.data.pixels.arrays import Packed
from common.data.reading import formats, image_size, images
from common.data.reading.attempts import THREADS, results, submit
from common.data.reading.images import Image, ImageError
from common.errors import PodiumError
from common.files import write_text
from common.trust import resolve

VERSION = 2  # of the files
KEY = 24  # characters of a key: 96 bits in hexadecimal
BLOCK_ROWS, BLOCK_BYTES = 512, 32 * 2**20  # the most that a block holds: a second or two of decoding


def file_keys(
    paths: Sequence[str], places: Sequence[Any] | None = None, known: Path | None = None
) -> np.ndarray:
    """A key for each picture: bytes (N,), other ones once its file holds other bytes, wherever it lies.

    places: where in its file a picture is, such as its offset, for files that hold several.
    known: see `digests`.
    """
    facts: Iterable[str] = digests(paths, known)
    if places is not None:
        facts = (f"{fact}\n{place}" for fact, place in zip(facts, places, strict=True))
    keys = "".join(hashlib.blake2b(fact.encode(), digest_size=KEY // 2).hexdigest() for fact in facts)
    return _array(keys)


@dataclass(frozen=True)
class Block:
    """A line of the index."""

    start: int  # its first row
    count: int  # of rows
    crc: int  # CRC-32 of their pixels
    time: int  # st_mtime_ns of the pixels' file when they had been written
    keys: str  # of the rows, one after the other; empty once the block is found damaged
    bad: list[tuple[str, str, str]]  # key, name and what is wrong, of pictures that cannot be decoded

    def line(self) -> str:
        """The block as text, behind a checksum of its own."""
        text = json.dumps(asdict(self))
        return f"{zlib.crc32(text.encode()):08x} {text}\n"

    @classmethod
    def parse(cls, line: bytes) -> "Block | None":
        """The block of a line; None if the line is cut short or damaged."""
        if not line.endswith(b"\n") or line[:8] != b"%08x" % zlib.crc32(line[9:-1]):
            return None
        return cls(**json.loads(line[9:]))


class Pack:
    """The pack of a data set's pictures as one preprocessing makes them.

    Args:
        place: the folder that holds packs.
        preprocessing: plain values that the pixels depend on; `size` [H, W] and `channels` among them.
    """

    def __init__(self, place: Path, preprocessing: dict[str, Any]) -> None:
        self.shape = (*preprocessing["size"], preprocessing["channels"])
        self.made_by = {
            "version": VERSION,
            "code": _code(preprocessing),
            "opencv": cv2.__version__,
            "preprocessing": preprocessing,
        }
        text = json.dumps(self.made_by, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        self.folder = place / f"{'x'.join(map(str, self.shape))}-{name}"
        self._pixels, self._index = self.folder / "pixels.u8", self.folder / "index.jsonl"
        self._load()

    @property
    def is_empty(self) -> bool:
        """Whether it has no picture, so that no key need be made to ask for one."""
        return not self._blocks

    @property
    def row_bytes(self) -> int:
        """Bytes of a picture."""
        return int(np.prod(self.shape))

    def holds(self, keys: np.ndarray) -> bool:
        """Whether nothing would have to be added for these pictures."""
        return self._whole and not len(self._missing(keys))

    def take(
        self, keys: np.ndarray, picture: Callable[[int], Image], check: bool = False
    ) -> tuple[Packed, np.ndarray, list[ImageError]]:
        """The pictures with these keys, those added first that are missing.

        Args:
            keys: bytes (N,), see `file_keys`.
            picture: decodes the picture of keys[row]: row → uint8 (H, W, C). Raises ImageError if it cannot; that is
                remembered, unless an OSError is behind it, which may pass. Called in threads.
            check: compare all pixels with their checksums first. Else this is done only where the files are not as
                they were left.

        Returns, as `pixels.decode` does, the pictures that could be decoded, their positions in `keys` (int64,
        ascending) and the errors of the others.

        Raises:
            PodiumError: the folder cannot be written to, or the disk has too little room.
        """
        unread: dict[int, ImageError] = {}
        if check or not self.holds(keys):
            with self._alone():
                self._load()  # anew: another may have added in the meantime
                if check or not self._whole:
                    self._verify()
                unread = self._add(keys, picture)
                self._load()
        found = self._find(keys)
        errors = [
            unread.get(row) or ImageError(*self._bad[keys[row].decode()])
            for row in np.flatnonzero(found < 0).tolist()
        ]
        rows = np.flatnonzero(found >= 0)
        return Packed(self._pixels, self.shape, found[rows]), rows, errors

    # Looking up ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the index, and see whether the files are as the last to write them left them."""
        lines = self._index.read_bytes().splitlines(keepends=True) if self._index.exists() else []
        parsed = [Block.parse(line) for line in lines]
        self._blocks = [block for block in parsed if block is not None]
        keys = _array("".join(block.keys for block in self._blocks))
        rows = [np.arange(block.start, block.start + block.count) for block in self._blocks if block.keys]
        order = np.argsort(keys)
        self._keys = keys[order]
        self._rows = np.concatenate([np.empty(0, np.int64), *rows])[order]
        self._bad = {key: (name, reason) for block in self._blocks for key, name, reason in block.bad}
        self._end = max((block.start + block.count for block in self._blocks), default=0)
        self._whole = len(parsed) == len(self._blocks)
        if self._blocks:
            file = self._pixels.stat() if self._pixels.exists() else None
            self._whole &= (
                file is not None
                and file.st_size >= self._end * self.row_bytes
                and file.st_mtime_ns == self._blocks[-1].time
            )

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key, int64 (N,); -1 where it has none."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._rows[at], -1)

    def _missing(self, keys: np.ndarray) -> np.ndarray:
        """Positions of the keys that the index does not know, int64, ascending."""
        without = np.flatnonzero(self._find(keys) < 0)
        return np.array([row for row in without if keys[row].decode() not in self._bad], dtype=np.int64)

    # Writing ------------------------------------------------------------------------------------------------

    def _verify(self) -> None:
        """Forget the pictures of every block whose pixels are not those that were written."""
        self._pixels.touch()
        if self._pixels.stat().st_size < self._end * self.row_bytes:
            os.truncate(self._pixels, self._end * self.row_bytes)  # longer: lost rows become zeros

        def verified(block: Block) -> Block:
            with self._pixels.open("rb") as file:
                file.seek(block.start * self.row_bytes)
                whole = zlib.crc32(file.read(block.count * self.row_bytes)) == block.crc
            return block if whole or not block.keys else replace(block, keys="")

        with ThreadPoolExecutor(THREADS) as pool:
            blocks = list(counted(pool.map(verified, self._blocks), "checking the pack", len(self._blocks)))
        lost = sum(old.count for old, new in zip(self._blocks, blocks, strict=True) if old != new)
        if lost:
            print(f"{self.folder} is damaged: {lost:,} of its pictures are packed again", flush=True)
        if blocks:
            blocks[-1] = replace(blocks[-1], time=self._pixels.stat().st_mtime_ns)
        write_text(self._index, "".join(block.line() for block in blocks))
        self._load()

    def _add(self, keys: np.ndarray, picture: Callable[[int], Image]) -> dict[int, ImageError]:
        """Decode and append what is missing; returns the errors that may pass, by row."""
        missing = self._missing(keys)
        needed, free = len(missing) * self.row_bytes, os.statvfs(self.folder)
        if needed > free.f_bavail * free.f_frsize:
            raise PodiumError(
                f"{self.folder}: packing {len(missing):,} pictures takes {needed / 1e9:.1f} GB, but the disk has "
                f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB left: make room, lower data.size, or raise "
                "data.in_memory_bytes to keep them in memory"
            )
        if not len(missing):
            return {}
        write_text(self.folder / "pack.json", json.dumps(self.made_by, indent=2) + "\n")
        self._pixels.touch()
        unread: dict[int, ImageError] = {}
        began = time.monotonic()
        with (
            Activity("packing pictures", len(missing)) as counter,
            self._pixels.open("r+b") as pixels,
            self._index.open("a", encoding="utf-8") as index,
        ):
            pixels.seek(self._end * self.row_bytes)
            for rows, found in _decoded(missing.tolist(), picture, self.row_bytes):
                pictures: dict[int, Image] = {}
                bad: list[tuple[str, str, str]] = []
                for row, one in zip(rows, found, strict=True):
                    if not isinstance(one, ImageError):
                        pictures[row] = one
                    elif isinstance(one.__cause__, OSError):
                        unread[row] = one
                    else:
                        bad.append((keys[row].decode(), one.path, one.reason))
                if pictures or bad:
                    block = self._append(pixels, keys[list(pictures)], list(pictures.values()), bad)
                    index.write(block.line())
                    index.flush()
                    os.fsync(index.fileno())
                counter.done += len(rows)
        print(f"packed {len(missing):,} pictures in {duration(time.monotonic() - began)}", flush=True)
        return unread

    def _append(
        self, pixels: Any, keys: np.ndarray, pictures: list[Image], bad: list[tuple[str, str, str]]
    ) -> Block:
        """Append pictures to the open file `pixels` and see them to the disk; returns the block for the index."""
        for picture in pictures:
            if picture.shape != self.shape or picture.dtype != np.uint8:
                raise ValueError(
                    f"a picture of {picture.shape} {picture.dtype} in a pack of uint8 {self.shape}"
                )
        data = b"".join(np.ascontiguousarray(picture).data for picture in pictures)
        pixels.write(data)
        pixels.flush()
        os.fsync(pixels.fileno())
        changed = os.fstat(pixels.fileno()).st_mtime_ns
        start, self._end = self._end, self._end + len(pictures)
        return Block(start, len(pictures), zlib.crc32(data), changed, b"".join(keys.tolist()).decode(), bad)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the pack, or wait for its holder; the lock goes with the process, however it ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("a+", encoding="utf-8") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: workers would inherit it
                except (BlockingIOError, PermissionError):
                    file.seek(0)
                    holder = file.read() or "another process"
                    print(f"waiting for {holder}, which packs {self.folder}", flush=True)
                    fcntl.lockf(file, fcntl.LOCK_EX)
                file.seek(0)
                file.truncate()
                file.write(f"process {os.getpid()} on {os.uname().nodename}")
                file.flush()
                yield
        except OSError as error:
            raise PodiumError(f"{self.folder} cannot be written to: {error.strerror or error}") from error


def _decoded(
    rows: list[int], picture: Callable[[int], Image], row_bytes: int
) -> Iterator[tuple[list[int], list[Image | ImageError]]]:
    """Rows and their pictures a block; the next one is decoded while the caller works on this one."""
    size = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
    with ThreadPoolExecutor(THREADS) as pool:
        pending = None
        for start in [*range(0, len(rows), size), None]:
            ahead = None
            if start is not None:
                block = rows[start : start + size]
                ahead = block, submit(pool, picture, block)
            if pending is not None:
                yield pending[0], results(pending[1])
            pending = ahead


def _code(preprocessing: dict[str, Any]) -> str:
    """A hash of the code that makes the pixels: reading and fitting, and the part `picture` if there is one.

    Comments, docstrings and layout do not count.
    """
    files = [images.__file__, formats.__file__, image_size.__file__]
    if preprocessing.get("picture"):
        files.append(inspect.getfile(resolve(preprocessing["picture"]["_target_"], "picture")))
    return hashlib.blake2b("".join(map(meaning, files)).encode(), digest_size=6).hexdigest()


def _array(keys: str) -> np.ndarray:
    """Keys, one after the other, as bytes (N,)."""
    return np.frombuffer(keys.encode(), f"S{KEY}")
