"""`bench=gnt`: how fast .gnt files are indexed and read, beside a reader as people write it, in one run.

make bench COMP=hccr DATA=<folder with .gnt files or zips> BENCH=gnt
make bench COMP=hccr BENCH=gnt ARGS="records=1000000"       also: so many generated records (5 GB), warm and cold
"""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.shared import table
from benchmarks.shared.words import options_and_recipe, recipe
from common.build import build
from common.cores import cores
from common.data.pixels.arrays import Packed, Pixels
from common.data.reading.images import fit_to, read
from common.errors import PodiumError
from common.run import environment
from common.run.components import make_data
from common.train.train import with_data
from competitions.hccr.files import gnt_files, pictures
from competitions.hccr.gnt import HEADER, GntIndex

NOTES = (
    "one thread but for ResNet-18, files warm in the page cache, medians over rounds; records a second",
    "plain reader: struct header, then np.frombuffer(f.read(w * h)), file by file; random access by seek",
    "loader: record → data.picture → 112 x 112 → batches of 64, as training and predicting call it",
    "packed: rows of an array in memory, or of a mapped file, in random order → batches of 64",
    "ResNet-18: bare steps on one batch in memory, 64 pixels, 64 pictures, SGD, all threads: images a second",
)

CHILD = """
import sys, time
from pathlib import Path
from competitions.hccr.gnt import GntIndex
from benchmarks.shared.memory import peak
start = time.perf_counter()
index = GntIndex.of([Path(sys.argv[1])])
seconds = time.perf_counter() - start
print(len(index), round(seconds, 2), round(peak() / 1e6))
"""


@dataclass
class Gnt:
    """Options of `bench=gnt`; all other words belong to the recipe."""

    rounds: int = 5
    records: int = 0  # generated besides; 0: none
    size: int = 112  # pixels a side

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.records < 0 or self.size < 1:
            raise PodiumError("rounds and size must be at least 1, records at least 0")


def main(words: Sequence[str]) -> None:
    options, rest = options_and_recipe(Gnt, words)
    config = with_data(recipe(rest))
    folder = table.new_folder()
    config["data"] = {**config["data"], "size": [options.size, options.size]}
    data = make_data(config, folder)
    torch.set_num_threads(1)  # as for OpenCV, see common/data/reading/images.py
    files = [path for _, path in gnt_files(Path(config["data"]["root"]))]
    index = GntIndex.of(files)
    order = np.random.default_rng(0).permutation(len(index))[:5000].tolist()
    paths = pictures([(str(path), path) for path in files], index)[1]

    def loaded(rows: list[int]) -> np.ndarray:
        return np.stack([fit_to(read(paths[row], 1), data.preprocessing) for row in rows])

    pixels = loaded(order)
    in_memory, mapped = Pixels.of([*pixels]), mapped_file(folder / "pixels.u8", pixels)
    batches = in_batches(order)
    places = in_batches(np.random.default_rng(1).permutation(len(order)).tolist())
    work: dict[str, tuple[int, Callable[[], Any]]] = {
        "index: plain reader": (len(index), lambda: [plain_index(path) for path in files]),
        "index: ours": (len(index), lambda: GntIndex.of(files)),
        "random access: plain reader": (len(order), lambda: plain_access(files, index, order)),
        "random access: ours": (len(order), lambda: [index[row] for row in order]),
        "loader": (len(order), lambda: [torch.from_numpy(loaded(rows)) for rows in batches]),
        "packed, in memory": (
            len(order),
            lambda: [torch.from_numpy(in_memory.stack(rows)) for rows in places],
        ),
        "packed, mapped": (len(order), lambda: [torch.from_numpy(mapped.stack(rows)) for rows in places]),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.rounds):
        for name, (_, run) in work.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    rows = [{"what": name, "value": round(count / median(taken[name]))} for name, (count, _) in work.items()]
    rows.append({"what": "ResNet-18 at 64 pixels", "value": round(resnet_speed(), 1)})
    if options.records:
        rows += generated(folder, options.records)
    notes = [*NOTES, f"{len(index)} records in {len(files)} files", str(environment.describe())]
    table.write(folder, "gnt", rows, notes)
    print(table.markdown(rows))
    print(f"written: {folder / 'gnt.md'}")


def in_batches(rows: list[int]) -> list[list[int]]:
    return [rows[start : start + 64] for start in range(0, len(rows), 64)]


def mapped_file(path: Path, pixels: np.ndarray) -> Packed:
    """Pixels as `make pack` leaves them; the file itself is gone once nothing maps it."""
    pixels.tofile(path)
    packed = Packed(path, pixels.shape[1:], np.arange(len(pixels)))
    path.unlink()
    return packed


def plain_index(path: Path) -> list[tuple[int, bytes, int, int]]:
    """As people write it: the pixels are read to get past them."""
    found = []
    with path.open("rb") as file:
        while head := file.read(10):
            size, tag, width, height = struct.unpack("<I2sHH", head)
            np.frombuffer(file.read(width * height), np.uint8).reshape(height, width)
            found.append((file.tell() - size, tag, width, height))
    return found


def plain_access(files: Sequence[Path], index: GntIndex, order: Sequence[int]) -> list[np.ndarray]:
    """Seek, header, pixels, with all files kept open."""
    opened = [path.open("rb") for path in files]
    found = []
    for row in order:
        file = opened[index.file[row]]
        file.seek(index.offset[row])
        _, _, width, height = struct.unpack("<I2sHH", file.read(10))
        found.append(np.frombuffer(file.read(width * height), np.uint8).reshape(height, width))
    for file in opened:
        file.close()
    return found


def resnet_speed(steps: int = 6) -> float:
    """Images a second of a plain ResNet-18 that trains on one batch."""
    torch.set_num_threads(cores())
    part = {"_target_": "common.model.networks.backbones.timm_model", "name": "resnet18"}
    net = build(part, num_classes=100, in_channels=1, image_size=(64, 64))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.rand(64, 1, 64, 64), torch.arange(64)
    taken = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
        taken.append(time.perf_counter() - start)
    return 64 / median(taken[1:])


def generated(folder: Path, count: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of indexing one file of so many records, in a process of its own, cold and warm.

    Sides as CASIA's: 30 to 110 pixels.
    """
    path = folder / "generated.gnt"
    random = np.random.default_rng(0)
    records = []
    for width, height in random.integers(30, 111, (1000, 2)).tolist():
        pixels = random.integers(0, 256, width * height, dtype=np.uint8)
        head = np.array((10 + pixels.size, 0xB0A1, width, height), HEADER)
        records.append(head.tobytes() + pixels.tobytes())
    with path.open("wb") as file:
        for start in range(0, count, len(records)):
            file.write(b"".join(records[: count - start]))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rows = []
    try:
        for state in ("cold", "warm"):
            said = subprocess.run(
                [sys.executable, "-c", CHILD, str(path)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
            rows.append(
                {"what": f"seconds for {int(said[0]):,} generated records, {state}", "value": said[1]}
            )
            rows.append({"what": f"megabytes of the process, {state}", "value": said[2]})
    finally:
        path.unlink()
    return rows
