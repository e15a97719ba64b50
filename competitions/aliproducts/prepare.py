"""`make prepare`: from the contest's lists and tree to tables by column name; the originals stay as they are.

<out>/train, val, balance_train   image_id, class_id, path (below the root), label
<out>/classes                     class_id, label, how many images each list has of it, and its node at every level
<out>/report.csv                  what is missing, doubled, contradictory or orphaned, by name

The tables are there as `.parquet` and `.csv`. `label` numbers all classes of train.json, in ascending order.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.data.files.digests import digests, meaning
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from common.files import made
from common.run.folder import lock, write_json
from common.text import utf8
from competitions.aliproducts.checks import Report, class_folder, not_in, sound
from competitions.aliproducts.lists import read_list
from competitions.aliproducts.tree import level_table, read_tree

BALANCES = ("original", "capped")
STEPS = (400, 200, 100)  # images that balancing keeps of a class with at least so many
LISTS = ("train", "val", "balance_train")
SHOWN = ("missing", "doubled", "contradictory", "orphaned")  # kinds whose numbers are said even if 0


@dataclass(frozen=True)
class Settings:
    """What a prepared folder depends on, besides its root. See AliproductsData."""

    balance: str = "original"
    seed: int = 0  # of what balancing keeps: not the run's, so that all seeds train on the same list

    def __post_init__(self) -> None:
        if self.balance not in BALANCES:
            raise PodiumError(f"data.balance must be one of {', '.join(BALANCES)}, got {self.balance}")


def prepare(root: Path, out: Path, settings: Settings) -> Path:
    """Make `out`, whole or not at all. Nothing is done where it was made from the same before. Returns `out`."""
    if _made_from(out) == _state(root, out.parent / "files.sqlite"):
        return out
    with lock(out.with_name(f".{out.name}"), wait=True):
        state = _state(root, out.parent / "files.sqlite")
        if _made_from(out) == state:  # while we waited
            return out
        partial = out.with_name(f".{out.name}") / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        tables, classes, report = read(root, settings)
        with made(out, partial):
            partial.mkdir(parents=True)
            for name, table in {**tables, "classes": classes}.items():
                content = pa.Table.from_pandas(table, preserve_index=False)
                pq.write_table(content, partial / f"{name}.parquet")
                pa.csv.write_csv(
                    content, partial / f"{name}.csv", pa.csv.WriteOptions(quoting_style="needed")
                )
            to_csv(report.table(), partial / "report.csv")
            write_json(partial / "prepared.json", {"root": str(root), **asdict(settings), "state": state})
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    counts = dict.fromkeys(SHOWN, 0) | report.counts()
    print(
        "prepared: "
        + ", ".join(f"{name} {len(table):,} images" for name, table in tables.items())
        + f", {len(classes):,} classes; {', '.join(f'{n:,} {kind}' for kind, n in counts.items())}: "
        + str(out / "report.csv")
    )
    return out


def read(root: Path, settings: Settings) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, Report]:
    """List → its table, the table of classes, and what was found wrong. See this file's head."""
    report = Report()
    listed, spelled = read_list(root / "train.json")
    given = {"train": listed}
    if (root / "val.json").exists():
        given["val"], more = read_list(root / "val.json")
        spelled = more | spelled
    spell = spelled.__getitem__
    found = {name: sound(table, root / name, name, spell, report) for name, table in given.items()}
    if "val" in found:
        found["train"] = not_in(found["train"], found["val"], root, spell, report)
    if not len(found["train"]):
        raise PodiumError(
            f"none of the {len(listed):,} images of {root / 'train.json'} is there; expected "
            f"{root}/train/{class_folder(0)}/<image_id>"
        )
    numbers = np.unique(found["train"]["class_id"])
    labels = {name: _labels(table["class_id"].to_numpy(), numbers) for name, table in found.items()}
    if "val" in found and (labels["val"] < 0).any():
        strange = labels["val"] < 0
        for number, count in found["val"][strange]["class_id"].value_counts().sort_index().items():
            report.add(
                "val", "untrained", class_folder(number), spell(number), f"{count} images, none to train on"
            )  # type: ignore[arg-type]
        found["val"], labels["val"] = found["val"][~strange], labels["val"][~strange]
    tables = {name: _complete(found[name], labels[name], name, spelled) for name in found}
    kept = balanced(labels["train"], settings.balance, settings.seed)
    tables["balance_train"] = tables["train"].iloc[kept].reset_index(drop=True)
    classes = pd.DataFrame(
        {"class_id": [spell(n) for n in numbers.tolist()], "label": np.arange(len(numbers))}
    )
    for name in LISTS:
        counted = tables[name]["label"] if name in tables else []
        classes[name] = np.bincount(np.asarray(counted, np.int64), minlength=len(numbers))
    if (root / "product_tree.json").exists():
        ancestors = _ancestors(root / "product_tree.json", {*spelled}, numbers, spelled, report)
        classes = classes.join(level_table(ancestors, numbers.tolist()))
    return tables, classes, report


def balanced(labels: NDArray[np.int64], rule: str, seed: int) -> NDArray[np.int64]:
    """Rows to keep of rows with these labels, ascending: a random choice within each class.

    rule: "original" keeps 400 of a class with at least 400 images, 200 with at least 200, 100 with at least 100, and
        else all; so 399 images become 200 and 199 become 100, fewer than of a class with 99 + 1. "capped" keeps 400 at
        most, and never fewer of a larger class.
    """
    counts = np.bincount(labels)
    quota = np.minimum(counts, STEPS[0])
    if rule == "original":
        quota = np.select([counts >= step for step in STEPS], STEPS, counts)
    chance = np.random.default_rng(seed).random(len(labels))
    order = np.lexsort((chance, labels))
    first = np.cumsum(counts) - counts  # of each class, in that order
    rank = np.arange(len(labels)) - first[labels[order]]
    return np.sort(order[rank < quota[labels[order]]])


def prepared_folder(base: Path, root: Path, settings: Settings) -> Path:
    """Named by the root and the settings."""
    return base / hashlib.sha1(f"{root.resolve()}\n{settings}".encode()).hexdigest()[:12]


def _ancestors(
    path: Path, known: set[int], numbers: NDArray[np.int64], spelled: dict[int, str], report: Report
) -> dict[int, tuple[str, ...]]:
    """Class → ancestors; reports classes that stand in the tree twice, leaves without images, classes without leaf."""
    ancestors: dict[int, tuple[str, ...]] = {}
    for number, above in read_tree(path, known):
        if number in ancestors:
            note = f"below {' > '.join(above)} too: {' > '.join(ancestors[number])} counts"
            report.add("tree", "contradictory", spelled.get(number, class_folder(number)), note=note)
        ancestors.setdefault(number, above)
    present = {*numbers.tolist()}
    for number in sorted({*ancestors} - present):
        note = f"no image, below {' > '.join(ancestors[number])}"
        report.add("tree", "orphaned", spelled.get(number, class_folder(number)), note=note)
    for number in sorted(present - {*ancestors}):
        report.add("train", "orphaned", spelled[number], spelled[number], "the class is not in the tree")
    if not present & {*ancestors}:
        raise PodiumError(f"{path} holds none of the {len(present):,} classes of train.json")
    return ancestors


def _labels(classes: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each class in the sorted `numbers`, -1 where it is not among them."""
    at = np.searchsorted(numbers, classes).clip(max=len(numbers) - 1)
    return np.where(numbers[at] == classes, at, -1)


def _complete(
    table: pd.DataFrame, labels: NDArray[np.int64], name: str, spelled: dict[int, str]
) -> pd.DataFrame:
    numbers, code = np.unique(table["class_id"].to_numpy(), return_inverse=True)
    folders = pd.Series([f"{name}/{class_folder(number)}/" for number in numbers.tolist()], dtype="str")
    classes = pd.Series([spelled[number] for number in numbers.tolist()], dtype="str")
    images = table["image_id"].reset_index(drop=True)
    path = folders.take(code).reset_index(drop=True) + images
    return pd.DataFrame(
        {"image_id": images, "class_id": classes.take(code).array, "path": path, "label": labels}
    )


def _state(root: Path, known: Path) -> str:
    """A hash of what tells that tables would come out otherwise: lists and tree, the times of the class folders, and
    the code that makes them."""
    lines = [meaning(file) for file in sorted(Path(__file__).parent.glob("*.py"))]
    names = [name for name in ("train.json", "val.json", "product_tree.json") if (root / name).exists()]
    hashes = digests([str((root / name).resolve()) for name in names], known)
    lines += [f"{name} {digest}" for name, digest in zip(names, hashes, strict=True)]
    for name in ("train", "val"):
        if (root / name).is_dir():
            with os.scandir(root / name) as found:
                lines += sorted(f"{name}/{utf8(entry.name)} {entry.stat().st_mtime_ns}" for entry in found)
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def _made_from(out: Path) -> str | None:
    path = out / "prepared.json"
    return json.loads(path.read_text(encoding="utf-8"))["state"] if path.exists() else None
