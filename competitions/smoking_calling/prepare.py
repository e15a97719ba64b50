"""`make prepare`: from the contest's pictures to a folder that is ready for folds; the originals stay as they are.

<out>/train/<class>/<source>_<hash>.jpg   shrunk where they were large, each once
<out>/train/<class>/aug_<class>_<n>.jpg   pasted together from two others of one fold
<out>/folds.csv                           id, label, class, group, source, fold, train_only, made_of
<out>/manifest.csv                        what was done with each picture, and why
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from common.data.files.digests import digests
from common.data.files.found import pictures_below
from common.data.reading.images import read
from common.data.records import image_id
from common.data.split.duplicates import near_duplicate_groups
from common.data.split.folds import assign
from common.data.spreadsheet import read_csv, to_csv
from common.errors import PodiumError
from common.files import made
from common.run.folder import lock, write_json
from competitions.smoking_calling.clean import clean, write_jpeg
from competitions.smoking_calling.paste import backgrounds, foregrounds, paste

COUNTS = {"calling": 500, "normal": 100, "smoking": 500, "smoking_calling": 1000}  # the original's
COLUMNS = ["id", "label", "class", "group", "source", "fold", "train_only", "made_of"]


@dataclass(frozen=True)
class Settings:
    """What a prepared folder depends on, besides its root. See SmokingCallingData."""

    shrink: int
    paste: tuple[tuple[str, int], ...]  # (class, count), sorted
    folds: int = 5
    seed: int = 42

    @classmethod
    def of(cls, shrink: int, counts: dict[str, int] | None) -> "Settings":
        """Raises PodiumError for a class that does not exist, and for numbers that cannot be."""
        counts = COUNTS if counts is None else counts
        for name, count in counts.items():
            if name not in COUNTS:
                raise PodiumError(f"data.paste: «{name}» is no class; the classes are {', '.join(COUNTS)}")
            if count < 0:
                raise PodiumError(f"data.paste.{name} must be at least 0, got {count}")
        if shrink < 64:
            raise PodiumError(f"data.shrink must be at least 64 pixels, got {shrink}")
        return cls(shrink, tuple(sorted(counts.items())))


def prepare(
    root: Path, out: Path, table: pd.DataFrame, class_names: Sequence[str], settings: Settings
) -> Path:
    """Make `out`, whole or not at all, from the pictures of `table` (id, path, label, source, train_only).

    Nothing is done where `out` was made from the same files before. Returns `out`.
    """
    if _made_from(out) == _files(root, out.parent / "files.sqlite"):
        return out
    with lock(out.with_name(f".{out.name}"), wait=True):
        if _made_from(out) == _files(root, out.parent / "files.sqlite"):  # while we waited
            return out
        partial, before = (out.with_name(f".{out.name}") / name for name in ("partial", "before"))
        if before.exists() and not out.exists():  # killed while one took the other's place
            before.rename(out)
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)
        with made(out, partial):
            kept, manifest = clean(table, class_names, partial, settings.shrink)
            kept["group"] = [f"near-{group}" for group in near_duplicate_groups(kept.pop("small"))]
            folds_before = out / "folds.csv"  # pictures keep their folds; their ids tell what is in them
            known = read_csv(folds_before, dtype={"id": str}) if folds_before.exists() else None
            kept["fold"] = assign(kept, settings.folds, settings.seed, known)
            pasted = paste_all(kept, class_names, partial, settings)
            folds = pd.concat([kept.assign(train_only=False, made_of=""), pasted], ignore_index=True)
            folds["class"] = [class_names[label] for label in folds["label"]]
            to_csv(folds[COLUMNS], partial / "folds.csv")
            new = (
                folds[folds["train_only"]]
                .rename(columns={"made_of": "note"})
                .assign(original="", action="pasted")
            )
            manifest = pd.concat([manifest, new[manifest.columns]], ignore_index=True)
            to_csv(manifest, partial / "manifest.csv")
            about = {
                "root": str(root),
                **asdict(settings),
                "files": _files(root, out.parent / "files.sqlite"),
            }
            write_json(partial / "prepared.json", about)
        if out.exists():
            out.rename(before)
        partial.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    _say(manifest, out)
    return out


def prepared_table(out: Path) -> pd.DataFrame:
    """The records of a prepared folder, with `fold`, `train_only` and `made_of`."""
    text = {"id": str, "group": str, "source": str, "made_of": str}
    table = read_csv(out / "folds.csv", dtype=text, keep_default_na=False)
    table["path"] = [str(out / image) for image in table["id"]]
    return table.drop(columns="class").sort_values("id", ignore_index=True)


def paste_all(kept: pd.DataFrame, class_names: Sequence[str], out: Path, settings: Settings) -> pd.DataFrame:
    """Paste pictures of one fold each, written below `out`; returns their rows.

    kept: columns id, label, fold, height, width. Of each class at most as many are made as it has pictures, so that
    small data sets are not drowned in them; folds take turns.
    """
    rng = np.random.default_rng(settings.seed)
    rows = []
    for name, wanted in settings.paste:
        label = class_names.index(name)
        own = kept[kept["label"] == label]
        behind = kept[kept["label"].isin([label, class_names.index("normal")])]
        material = []
        for fold in range(settings.folds):
            front, back = foregrounds(own[own["fold"] == fold]), backgrounds(behind[behind["fold"] == fold])
            if len(front) and len(back):
                material.append((fold, front, back))
        count = min(wanted, len(own)) if material else 0
        if count < wanted:
            why = (
                "as many as there are pictures" if material else "no fold has a tall picture and one 600 high"
            )
            print(f"pasted {count} of {wanted} {name}: {why}")
        for number in range(count):
            fold, front, back = material[number % len(material)]
            sources = [str(rng.choice(front)), str(rng.choice(back))]
            new = f"train/{name}/aug_{name}_{number}.jpg"
            write_jpeg(out / new, paste(read(out / sources[0], 3), read(out / sources[1], 3), rng))
            rows.append({"id": new, "label": label, "group": f"pasted-{name}-{number}", "source": "",
                         "fold": fold, "train_only": True, "made_of": " ".join(sources)})  # fmt: skip
    return pd.DataFrame(rows, columns=[column for column in COLUMNS if column != "class"])


def source_of(image: str) -> str:
    """v1, v2, … where the file's name, or its folder's, says so; else empty. An aug_ picture has none."""
    path = PurePosixPath(image)
    for word in (path.name.partition("_")[0], path.parent.name):
        if len(word) > 1 and word[0] == "v" and word[1:].isdigit():
            return word
    return ""


def is_pasted(image: str) -> bool:
    """Whether a picture's name says that it was pasted together from others."""
    return PurePosixPath(image).name.startswith("aug_")


def _files(root: Path, known: Path) -> str:
    """A hash of the training pictures and their names: whether they have changed."""
    files = pictures_below(root / "train").pictures
    hashes = digests([str(path.resolve()) for path in files], known)
    lines = [f"{image_id(path, root)} {digest}" for path, digest in zip(files, hashes, strict=True)]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def _made_from(out: Path) -> str | None:
    path = out / "prepared.json"
    return json.loads(path.read_text(encoding="utf-8"))["files"] if path.exists() else None


def _say(manifest: pd.DataFrame, out: Path) -> None:
    counts = manifest["action"].value_counts().items()
    print(
        f"prepared: {', '.join(f'{count} {action}' for action, count in counts)}; see {out / 'manifest.csv'}"
    )
    for note in manifest.loc[manifest["action"] == "contradiction", "note"].drop_duplicates():
        print(f"left out: {note}")
