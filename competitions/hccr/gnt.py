"""CASIA's .gnt files: an index over any number of them, their pictures by memory map, and a writer.

A file is a row of records, little endian: uint32 size = 10 + width · height, a tag of two bytes (see tags.py), uint16
width, uint16 height, then grey pixels row by row, paper white. Liu, Yin, Wang, Wang, ICDAR 2011.

Only a record's size tells where the next one begins. So sizes are followed a few thousand at a time by the least that
Python can do, and all else is checked on arrays. Where a header contradicts itself, the next one is looked for at every
byte: width, height and size must fit, which chance hardly does.
"""

import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import PodiumError
from competitions.hccr import tags

HEADER = np.dtype([("size", "<u4"), ("tag", ">u2"), ("width", "<u2"), ("height", "<u2")])
HEAD = HEADER.itemsize  # 10 bytes
LARGEST = 4096  # pixels a side: what claims to be larger is damaged
BATCH = 4096  # records
WINDOW, LARGEST_WINDOW = 2**14, 2**22  # bytes in which a lost header is looked for at a time
SMALL = 2**23  # bytes of a file that may stay in memory while it is read
MAPS = 256  # files kept mapped, each of which holds a file descriptor

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Fault:
    """What is wrong at an offset of a file, in a few words, and how many bytes from there on are skipped for it."""

    file: str
    offset: int
    reason: str
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.file}: byte {self.offset}: {self.reason}"


@dataclass(frozen=True, eq=False)
class GntIndex:
    """Where the records of several files are, as arrays (N,), and what is wrong with the files.

    file: int32, of `files`. number: int32, of the record in its file, from 0, lost ones not counted. offset: int64, of
    its header. tag: uint16, as stored. code: uint16, see tags.py. width, height: uint16.
    """

    files: tuple[Path, ...]
    file: NDArray[np.int32]
    number: NDArray[np.int32]
    offset: NDArray[np.int64]
    tag: tags.Tags
    code: tags.Tags
    width: NDArray[np.uint16]
    height: NDArray[np.uint16]
    faults: tuple[Fault, ...]
    _maps: dict[int, Image] = field(default_factory=dict, repr=False)  # of `files`

    @classmethod
    def of(cls, files: Sequence[Path]) -> "GntIndex":
        """Read the headers of these files; faults of files and records are collected, never raised."""
        followed = [_unchecked(path) for path in files]
        offsets, headers = [one[0] for one in followed], [one[1] for one in followed]
        faults = []
        for at in _doubtful(headers, [is_whole for _, _, is_whole in followed]):
            offsets[at], headers[at], wrong = read_headers(files[at])
            faults += wrong
        counts = np.array([len(found) for found in offsets], np.int64)
        file = np.repeat(np.arange(len(files), dtype=np.int32), counts)
        first = np.repeat(counts.cumsum() - counts, counts)
        joined = _joined(headers)
        tag = joined["tag"].astype(np.uint16)
        return cls(
            tuple(files),
            file,
            (np.arange(len(file)) - first).astype(np.int32),
            np.concatenate([np.empty(0, np.int64), *offsets]),
            tag,
            tags.codes(tag, file),
            joined["width"].copy(),
            joined["height"].copy(),
            tuple(faults),
        )

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, index: int) -> Image:
        """The picture of a record: uint8 (H, W), a read-only view of its file."""
        file = int(self.file[index])
        data = self._maps.get(file)
        if data is None:
            if len(self._maps) >= MAPS:
                self._maps.clear()
            data = self._maps[file] = np.asarray(np.memmap(self.files[file], np.uint8, mode="r"))
        start, height, width = int(self.offset[index]) + HEAD, int(self.height[index]), int(self.width[index])
        return data[start : start + height * width].reshape(height, width)


def _unchecked(path: Path) -> tuple[NDArray[np.int64], NDArray[Any], bool]:
    """Offsets and headers of a file's first records by their sizes alone, and whether these end where it ends."""
    with suppress(OSError):
        opened = os.open(path, os.O_RDONLY)
        try:
            end = os.fstat(opened).st_size
            if end:
                with mmap.mmap(opened, 0, access=mmap.ACCESS_READ) as data:
                    found = _follow(data, 0, BATCH)
                    if found[-1] == end and found[-2] <= end - HEAD:
                        del found[-1]
                        offsets = np.array(found, np.int64)
                        return offsets, _headers(data, offsets), True
        finally:
            os.close(opened)
    return np.empty(0, np.int64), np.empty(0, HEADER), False


def _doubtful(headers: Sequence[NDArray[Any]], is_whole: Sequence[bool]) -> list[int]:
    """Numbers of the files that must be read record by record. All are checked at once: few have anything wrong."""
    file = np.repeat(np.arange(len(headers)), [len(header) for header in headers])
    unsound = file[~_is_sound(_joined(headers))]
    return sorted({*unsound.tolist(), *np.flatnonzero(~np.array(is_whole, bool)).tolist()})


def read_headers(path: Path) -> tuple[NDArray[np.int64], NDArray[Any], list[Fault]]:
    """Offsets int64 (N,) and headers HEADER (N,) of a file's sound records, ascending, and the file's faults."""
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            if os.fstat(opened).st_size == 0:
                return np.empty(0, np.int64), np.empty(0, HEADER), [Fault(str(path), 0, "the file is empty")]
            with mmap.mmap(opened, 0, access=mmap.ACCESS_READ) as data:
                return _walk(str(path), data)
        finally:
            os.close(opened)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return np.empty(0, np.int64), np.empty(0, HEADER), [Fault(str(path), 0, reason)]


def _walk(name: str, data: mmap.mmap) -> tuple[NDArray[np.int64], NDArray[Any], list[Fault]]:
    at, end = 0, len(data)
    ahead = BATCH  # after a fault few: where there are many, most of what is followed would be followed again
    faults: list[Fault] = []
    offsets: list[NDArray[np.int64]] = []
    headers: list[NDArray[Any]] = []
    while at < end:
        followed = _follow(data, at, ahead)
        while followed and followed[-1] > end - HEAD:
            del followed[-1]
        found = np.array(followed, np.int64)
        header = _headers(data, found)
        sound = _is_sound(header) & (found + header["size"] <= end)
        count = len(sound) if sound.all() else int(sound.argmin())
        if count:
            offsets.append(found[:count])
            headers.append(header[:count])
            if end > SMALL:
                _release(data, at, int(found[count - 1]))
            at = int(found[count - 1]) + int(header["size"][count - 1])
        if count == ahead or at == end:
            ahead = min(2 * ahead, BATCH)
            continue
        ahead = 64
        # The record before may be at fault: a size that is too large, yet fits its sides, swallows what follows.
        last = next((i for i in range(len(offsets) - 1, -1, -1) if len(offsets[i])), -1)
        before = int(offsets[last][-1]) if last >= 0 else -HEAD
        resumed = _search(data, max(before + HEAD, _after(faults)))
        if resumed < at:
            offsets[last], headers[last] = offsets[last][:-1], headers[last][:-1]
            faults.append(Fault(name, before, f"overlaps the record at byte {resumed}", resumed - before))
        else:
            faults.append(Fault(name, at, _reason(data, at), resumed - at))
        at = resumed
    if len(offsets) == 1:
        return offsets[0], headers[0], faults
    return np.concatenate([np.empty(0, np.int64), *offsets]), _joined(headers), faults


def _joined(headers: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """As np.concatenate, which takes long to compare the types of structures."""
    flat = [header.view(np.uint8) for header in headers]
    return np.concatenate([np.empty(0, np.uint8), *flat]).view(HEADER)


def _follow(data: mmap.mmap, at: int, count: int) -> list[int]:
    """Offsets of up to `count` records, by their sizes alone, from `at` on; what is behind the end comes last."""
    offsets: list[int] = []
    append, number = offsets.append, int.from_bytes  # faster than struct on a map
    for _ in repeat(None, count):
        append(at)
        size = number(data[at : at + 4], "little")
        if not size:
            break  # also behind the end
        at += size
    return offsets


def _headers(data: mmap.mmap, offsets: NDArray[np.int64]) -> NDArray[Any]:
    """The headers at these offsets, copied: HEADER (N,)."""
    if not len(offsets):
        return np.empty(0, HEADER)
    return np.ndarray((len(data) - HEAD + 1,), HEADER, data, strides=(1,))[offsets]


def _is_sound(header: NDArray[Any]) -> NDArray[np.bool_]:
    width, height = header["width"].astype(np.int64), header["height"].astype(np.int64)
    sides = (width > 0) & (height > 0) & (width <= LARGEST) & (height <= LARGEST)
    return sides & (header["size"] == HEAD + width * height)


def _search(data: mmap.mmap, start: int) -> int:
    """Offset of the first header from `start` on that a record can be behind; the end of the file if there is none.

    Its tag must be one, or another sound header or the end of the file must follow.
    """
    end, window = len(data), WINDOW
    while start <= end - HEAD:
        stop = min(start + window, end - HEAD + 1)
        header: NDArray[Any] = np.ndarray((stop - start,), HEADER, data, offset=start, strides=(1,))
        small = np.flatnonzero(
            header["size"] - np.uint32(HEAD + 1) < LARGEST**2
        )  # few sizes are possible at all
        small = small[_is_sound(header[small])]
        for at in (start + small).tolist():
            found = _headers(data, np.array([at]))
            after = at + int(found["size"][0])
            if after > end:
                continue
            follows = after == end or (
                after <= end - HEAD and bool(_is_sound(_headers(data, np.array([after])))[0])
            )
            if follows or bool(tags.plausible(found["tag"].astype(np.uint16))[0]):
                return at
        start, window = stop, min(2 * window, LARGEST_WINDOW)
    return end


def _after(faults: list[Fault]) -> int:
    """What has been searched and found wanting is not searched again."""
    return faults[-1].offset + 1 if faults else 0


def _reason(data: mmap.mmap, at: int) -> str:
    left = len(data) - at
    if left < HEAD:
        return f"cut short: a header takes {HEAD} bytes, {left} are left"
    size, _, width, height = (int(value) for value in _headers(data, np.array([at]))[0])
    if width == 0 or height == 0:
        return f"zero-sized: {width} x {height} pixels"
    if size != HEAD + width * height:
        return (
            f"corrupted: its size says {size} bytes, {width} x {height} pixels need {HEAD + width * height}"
        )
    if max(width, height) > LARGEST:
        return f"corrupted: {width} x {height} pixels, more than {LARGEST} a side"
    return f"cut short: it takes {size} bytes, {left} are left"


def _release(data: mmap.mmap, start: int, stop: int) -> None:
    """Let go of pages that have been read, so that indexing takes little memory however large the file is."""
    start -= start % mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED") and stop > start:
        data.madvise(mmap.MADV_DONTNEED, start, stop - start)


def write(path: Path, stored_tags: Iterable[int], images: Iterable[Image]) -> int:
    """Write records to a file; returns how many. What was read by an index is written byte for byte.

    stored_tags: see tags.py. images: uint8 (H, W) each. Raises PodiumError for what a record cannot hold.
    """
    count = 0
    with path.open("wb") as file:
        for tag, image in zip(stored_tags, images, strict=True):
            if (
                image.dtype != np.uint8
                or image.ndim != 2
                or not 0 < min(image.shape) <= max(image.shape) <= LARGEST
            ):
                raise PodiumError(
                    f"{path}: record {count} must be uint8 (height, width) of 1 to {LARGEST} pixels a side, "
                    f"got {image.dtype} {image.shape}"
                )
            height, width = image.shape
            file.write(np.array((HEAD + height * width, tag, width, height), HEADER).tobytes())
            file.write(image.tobytes())
            count += 1
    return count
