"""What a run's data are, beside its configuration: places may change, what lies there may not.

`data.json` in the run folder says it, and where, of the last start. So a run goes on where its data have moved,
and not where others lie in their place.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.data.files import found
from common.data.files.digests import digests
from common.data.records import image_id
from common.errors import PodiumError
from common.run import folder, shapes
from common.run.components import make_data
from common.run.members import read_folds
from common.text import printable

FILE = "data.json"


@dataclass(frozen=True)
class Contents:
    """What lies in the places that a configuration names.

    classes: their names, in order.
    class_of: id → class of all labelled pictures. None: not kept.
    pictures, records: how many they are, and their hash.
    pixels: hash of the bytes of the pictures, and of the class tree.
    files: path → hash of the files and folders that the recipe's data name, such as a split or corrections.
    """

    classes: list[str]
    pictures: int
    records: str
    pixels: str
    files: dict[str, str]
    class_of: dict[str, str] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Contents | None":
        """Those of a configuration whose data root is filled in.

        None where too much of them is wrong to be trained on, of which the run folder has a list. Raises PodiumError as
        `ImageData.records` does.
        """
        try:
            with TemporaryDirectory() as nowhere:
                data = make_data({**config, "job": {"folds": None, "fold": None}}, Path(nowhere))
                data.prepare()  # which says what it does once
                with _unsaid():
                    table, names = data.records()
        except PodiumError as error:
            if nowhere in str(error):
                return None  # said again, with a list that stays
            raise
        parts = table["part"].fillna("") if "part" in table else [""] * len(table)
        class_of = {image: names[label] for image, label in zip(table["id"], table["label"], strict=True)}
        lines = "\n".join(
            f"{image}\t{class_of[image]} ({part})" if part else f"{image}\t{class_of[image]}"
            for image, part in sorted(zip(table["id"], parts, strict=True))
        )
        keys = sorted(zip(table["id"], data.picture_keys(table).tolist(), strict=True))
        held = b"".join(image.encode() + key for image, key in keys) + json.dumps(data.levels).encode()
        values = (value for node in _data_of(config) for key, value in node.items() if key != "root")
        named = sorted(
            {value for value in values if isinstance(value, str) and value and Path(value).exists()}
        )
        files = {value: _hash_of(Path(value), data.known_files) for value in named}
        return cls(list(names), len(table), _hash(lines.encode()), _hash(held), files, class_of)

    @classmethod
    def read(cls, run: Path) -> "Contents | None":
        """What a run's data were when it began; None of a run that does not say."""
        path = run / FILE
        return cls(**folder.load_json(path, shapes.Contents)) if path.exists() else None

    def write(self, run: Path) -> None:
        said = {name: value for name, value in vars(self).items() if name != "class_of"}
        folder.write_json(run / FILE, said)

    def with_gone(self, before: "Contents") -> "Contents":
        """With what files held that are gone since the run began: it has read them, and goes on without."""
        gone = {path: held for path, held in before.files.items() if not Path(path).exists()}
        return replace(self, files=gone | self.files)

    def in_place(self, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration, of a run or a job, with what its data hold in place of where they lie."""

        def told(data: dict[str, Any]) -> dict[str, Any]:
            held = {
                key: self.files.get(value, value) for key, value in data.items() if isinstance(value, str)
            }
            return {key: value for key, value in (data | held).items() if key != "root"}

        return _with_data(config, told)


def differences(run: Path, config: dict[str, Any], now: Contents | None) -> list[str]:
    """`key: then → now` for what differs between a run and a configuration: places only where contents are unknown."""
    old, before = folder.load_config(run, shapes.Begun), Contents.read(run)
    if before is None or now is None:
        return folder.differences(old, config)
    now = now.with_gone(before)
    return folder.differences(before.in_place(old), now.in_place(config)) or _of_data(run, before, now)


def differences_but_places(run: Path, config: dict[str, Any]) -> list[str]:
    """As `differences`, of whatever cannot be the place of something: known before any data are read."""

    def without(data: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in data.items() if key != "root" and not isinstance(value, str)}

    old = folder.load_config(run, shapes.Begun)
    return folder.differences(_with_data(old, without), _with_data(config, without))


def _of_data(run: Path, before: Contents, now: Contents) -> list[str]:
    if (before.classes, before.records, before.pixels) == (now.classes, now.records, now.pixels):
        return []
    if (before.classes, before.records) == (now.classes, now.records):
        return [
            "data.root: its content is another: files of pictures, or the class tree, under the names of others"
        ]
    said = []
    if before.classes != now.classes:
        examples = [f"gone: {name}" for name in before.classes if name not in now.classes][:3]
        examples += [f"new: {name}" for name in now.classes if name not in before.classes][:3]
        said.append(f"{len(before.classes):,} classes → {len(now.classes):,}{_in_brackets(examples)}")
    examples = []
    if (run / "folds.csv").exists() and now.class_of is not None:
        folds = read_folds(run)
        folds = folds[~folds["id"].str.startswith(("copies/", "unlabelled/"))]
        then = dict(zip(folds["id"], folds["class"], strict=True))
        examples = [f"gone: {image}" for image in then if image not in now.class_of][:3]
        examples += [
            f"{image}: {then[image]} → {name}"
            for image, name in now.class_of.items()
            if image in then and then[image] != name
        ][:3]
        new = [f"new: {image}" for image in now.class_of if image not in then]
        if len(new) > before.pictures - len(then):  # those could not be read, and are in no part
            examples += new[:3]
    said.append(f"{before.pictures:,} labelled pictures → {now.pictures:,}{_in_brackets(examples)}")
    return [f"data.root: its content is another: {'; '.join(said)}"]


def _in_brackets(examples: list[str]) -> str:
    return f" ({'; '.join(map(printable, examples))})" if examples else ""


def _data_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes `data` of a configuration: its own, and those of its stages."""
    recipes = [stage.get("recipe") or {} for stage in (config.get("stages") or {}).values()]
    return [one["data"] for one in (config, *recipes) if one.get("data")]


def _with_data(config: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    changed = {**config, "data": change(config["data"])} if config.get("data") else {**config}
    if config.get("stages"):
        changed["stages"] = {
            name: {**stage, "recipe": _with_data(stage["recipe"], change)} if stage.get("recipe") else stage
            for name, stage in config["stages"].items()
        }
    return changed


def _hash_of(path: Path, known: Path | None) -> str:
    """Of a file's bytes; of a folder's pictures by their names and bytes."""
    if path.is_file():
        return f"content {_hash(digests([str(path)])[0].encode())}"
    pictures = found.pictures_below(path).pictures
    hashes = digests([str(picture.absolute()) for picture in pictures], known)
    lines = [f"{image_id(picture, path)}\t{each}" for picture, each in zip(pictures, hashes, strict=True)]
    return f"content {_hash(chr(10).join(lines).encode())}"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


@contextmanager
def _unsaid() -> Iterator[None]:
    """What is printed meanwhile is said again by whoever trains on the data."""
    told = set(found._told)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        found._told.clear()
        found._told.update(told)
