"""`bench=index`: how long and how much memory aliproducts takes to read and index lists of the contest's size.

Lists, tree and (empty) files are generated; a process of its own then prepares them and reads the records: the figures
are its wall-clock seconds and its peak resident memory, all imports included.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared import table
from common.config.options import parse
from common.config.schema import at_least, one_of

SECONDS, BYTES = 60, 2e9  # the aims

SCRIPT = """
import json, sys, time
start = time.perf_counter()
from common.heap import keep_freed_memory
keep_freed_memory()  # as every verb does
from competitions.aliproducts.data import AliproductsData
from benchmarks.shared.memory import peak
options = {"size": [64, 64], "seed": 0, "views": {}, "folder": "run"}
imported = time.perf_counter()
data = AliproductsData(root=sys.argv[1], **options)
data.prepare()
prepared = time.perf_counter()
records, names = data.records()
done = time.perf_counter()
found = {"imports_s": imported - start, "prepare_s": prepared - imported, "records_s": done - prepared,
         "peak_bytes": peak(),
         "images": len(records), "classes": len(names)}
print("found " + json.dumps(found))
"""


@dataclass
class Index:
    """Options of `bench=index`."""

    competition: str = "aliproducts"  # the one that has lists
    classes: int = 50_030
    images: int = 2_500_000  # of train.json; val.json has 3 of each class besides

    def __post_init__(self) -> None:
        one_of("competition", self.competition, ("aliproducts",))
        at_least("classes", self.classes, 2)
        at_least("images", self.images, self.classes)


def main(words: Sequence[str]) -> None:
    """Generate, measure, print the table and write it to `runs/bench/<time>/index.{csv,md}`."""
    options = parse(Index, words)
    out = table.new_folder()
    with tempfile.TemporaryDirectory(prefix="podium-index-") as folder:
        root = Path(folder) / "root"
        start = time.perf_counter()
        print(f"generating {options.images:,} files of {options.classes:,} classes in {root}", flush=True)
        generate(root, options.classes, options.images)
        print(f"generated in {time.perf_counter() - start:.0f} s", flush=True)
        found = measure(root, Path(folder))
    seconds = found["prepare_s"] + found["records_s"]
    row = {
        "classes": found["classes"],
        "images": found["images"],
        "imports": f"{found['imports_s']:.1f} s",
        "prepare": f"{found['prepare_s']:.1f} s",
        "records": f"{found['records_s']:.1f} s",
        "together": f"{seconds:.1f} s (aim {SECONDS})",
        "peak memory": f"{found['peak_bytes'] / 1e9:.2f} GB (aim {BYTES / 1e9:.0f})",
    }
    notes = (
        "prepare: lists checked against files, balanced, written as Parquet and CSV; records: read from there",
    )
    table.write(out, "index", [row], notes)
    print(table.markdown([row]))


def measure(root: Path, folder: Path) -> dict[str, Any]:
    """Seconds and bytes of a process that prepares `root` and reads its records, working in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("found "))
    return json.loads(line.removeprefix("found "))


def generate(root: Path, classes: int, images: int) -> None:
    """Lists with a long tail, a tree of four levels, and an empty file for every entry."""
    rng = np.random.default_rng(0)
    shares = rng.lognormal(0, 1, classes)
    counts = 1 + np.floor((images - classes) * shares / shares.sum()).astype(int)
    counts[0] += images - counts.sum()
    for part, numbers in (("train", counts), ("val", np.full(classes, 3))):
        name = 0
        with (_made(root) / f"{part}.json").open("w", encoding="utf-8") as file:
            file.write('{"images": [')
            for label, number in enumerate(numbers.tolist()):
                folder = _made(root / part / f"{label:05d}")
                for _ in range(number):
                    image = f"{part}-{name:032x}.jpg"
                    os.close(os.open(folder / image, os.O_CREAT | os.O_WRONLY))
                    entry = {"image_id": image, "class_id": f"{label:05d}"}
                    file.write(f"{',' if name else ''}\n{json.dumps(entry)}")
                    name += 1
            file.write("\n]}\n")
    tree: dict[str, Any] = {}
    for label in range(classes):
        above = tree.setdefault(f"top {label % 10}", {}).setdefault(f"middle {label % 100}", {})
        above.setdefault(f"fine {label % 1000}", {})[f"product {label}"] = f"{label:05d}"
    (root / "product_tree.json").write_text(json.dumps(tree), encoding="utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main(sys.argv[1:])
