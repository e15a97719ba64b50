"""`make prepare`: from the contest's pictures to a folder that is ready for folds; the originals stay as they are.

<out>/train/<class>/<source>_<hash>.jpg   shrunk where they were large, each once
<out>/train/<class>/aug_<class>_<n>.jpg   pasted together from two others of one fold
<out>/folds.csv                           id, label, class, group, source, fold, train_only, made_of
<out>/manifest.csv                        what was done with each picture, and why
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.data.duplicates import near_duplicate_groups
from common.data.folds import assign
from common.data.images import Image, ImageError, fit, read
from common.errors import PodiumError
from common.run.folder import lock
from competitions.smoking_calling.paste import backgrounds, foregrounds, paste

FOLDS, SEED, QUALITY = 5, 42, 95
COUNTS = {"calling": 500, "normal": 100, "smoking": 500, "smoking_calling": 1000}


@dataclass(frozen=True)
class Settings:
    """What a prepared folder depends on, besides its root. See SmokingCallingData."""

    shrink: int
    paste: tuple[tuple[str, int], ...]  # (class, count), sorted
    folds: int = FOLDS
    seed: int = SEED

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


def prepare(root: Path, out: Path, table: pd.DataFrame, class_names: list[str], settings: Settings) -> Path:
    """Make `out`, whole or not at all, from the pictures of `table` (id, path, label, source, train_only).

    Nothing is done where `out` was made from the same files before. Returns `out`.
    """
    with lock(out.with_name(f".{out.name}.work")):
        if _made_from(out) == _files(root):
            print(f"prepared already: {out}")
            return out
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest, kept = _clean(table, class_names, partial, settings)
        kept["group"] = [f"near-{group}" for group in near_duplicate_groups(kept.pop("thumbnail"))]
        kept["fold"] = assign(kept, settings.folds, settings.seed)
        pasted = _paste(kept, class_names, partial, settings)
        folds = pd.concat([kept, pasted], ignore_index=True)
        folds["class"] = [class_names[label] for label in folds["label"]]
        columns = ["id", "label", "class", "group", "source", "fold", "train_only", "made_of"]
        folds[columns].to_csv(partial / "folds.csv", index=False)
        made = pasted.assign(original=pasted["made_of"], action="pasted", note="the two that it is made of")
        manifest = pd.concat([manifest, made], ignore_index=True)
        columns = ["id", "original", "label", "action", "note"]
        manifest[columns].to_csv(partial / "manifest.csv", index=False)
        made_from = {"root": str(root), "settings": asdict(settings), "files": _files(root)}
        (partial / "prepared.json").write_text(json.dumps(made_from, indent=1, ensure_ascii=False))
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    _say(manifest, out)
    return out


def prepared_table(root: Path, out: Path) -> pd.DataFrame | None:
    """The records of a prepared folder, with `fold`, `train_only` and `made_of`; None if there is none.

    Raises PodiumError where the files of `root` have changed since.
    """
    made_from = _made_from(out)
    if made_from is None:
        return None
    if made_from != _files(root):
        raise PodiumError(
            f"{root} has changed since it was prepared: run `make prepare` again, or delete {out}"
        )
    text = {"id": str, "group": str, "source": str, "made_of": str}
    table = pd.read_csv(out / "folds.csv", dtype=text, keep_default_na=False)
    table["path"] = [str(out / image) for image in table["id"]]
    return table.drop(columns="class").sort_values("id", ignore_index=True)


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


def shrunk(image: Image, longest: int) -> Image:
    """Where both sides are longer than `longest`, the longer one becomes it, by area. uint8 (H, W, C) → the same."""
    height, width = image.shape[:2]
    if min(height, width) <= longest:
        return image
    ratio = longest / max(height, width)
    return fit(image, (max(1, round(height * ratio)), max(1, round(width * ratio))))


def _clean(
    table: pd.DataFrame, class_names: list[str], out: Path, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write each picture once. Returns the manifest and the table of what was written, with sizes and thumbnails."""
    strangers = table[table["train_only"]]
    notes = [
        (row, "left out", "pasted by others: from what is unknown") for row in strangers.to_dict("records")
    ]
    originals = table[~table["train_only"]].sort_values("id")
    first: dict[str, dict[str, Any]] = {}
    twins: list[tuple[dict[str, Any], str]] = []  # a later row, and the content it shares
    labels: dict[str, set[int]] = {}
    for row, found in zip(originals.to_dict("records"), _looked_at(originals["path"].tolist()), strict=True):
        if isinstance(found, ImageError):
            notes.append((row, "unreadable", found.reason))
            continue
        content, height, width = found
        labels.setdefault(content, set()).add(row["label"])
        if content in first:
            twins.append((row, content))
        else:
            first[content] = {**row, "height": height, "width": width}
    doubtful = {content for content, of in labels.items() if len(of) > 1}
    for row, content in [*((first[content], content) for content in doubtful), *twins]:
        if content in doubtful:
            said = ", ".join(sorted(class_names[label] for label in labels[content]))
            notes.append((row, "contradiction", f"the same picture is labelled {said}"))
        else:
            notes.append((row, "duplicate", f"of {first[content]['id']}"))
    written, done = [], []
    good = {content: row for content, row in first.items() if content not in doubtful}
    with ThreadPoolExecutor() as pool:
        jobs = [
            (row, content, class_names[row["label"]], out, settings.shrink) for content, row in good.items()
        ]
        for (_, row), (image, action, size, thumbnail) in zip(
            good.items(), pool.map(lambda job: _write(*job), jobs), strict=True
        ):
            done.append(
                {"id": image, "original": row["id"], "label": row["label"], "action": action, "note": ""}
            )
            written.append({"id": image, "label": row["label"], "source": row["source"], "train_only": False,
                            "made_of": "", "group": image, "height": size[0], "width": size[1],
                            "thumbnail": thumbnail})  # fmt: skip
    if not written:
        raise PodiumError(
            f"none of the {len(table)} pictures can be prepared; the first: {notes[0][2] if notes else ''}"
        )
    left = [{"id": "", "original": row["id"], "label": row["label"], "action": action, "note": note}
            for row, action, note in notes]  # fmt: skip
    return pd.DataFrame([*done, *left]), pd.DataFrame(written)


def _looked_at(paths: list[str]) -> Iterator[tuple[str, int, int] | ImageError]:
    """(hash of the pixels, height, width) of each file, or why it cannot be read."""

    def look(path: str) -> tuple[str, int, int] | ImageError:
        try:
            image = read(path, 3)
        except ImageError as error:
            return error
        height, width = image.shape[:2]
        return hashlib.sha1(f"{height} {width} ".encode() + image.tobytes()).hexdigest(), height, width

    with ThreadPoolExecutor() as pool:
        yield from pool.map(look, paths)


def _write(
    row: dict[str, Any], content: str, name: str, out: Path, longest: int
) -> tuple[str, str, tuple[int, int], Image]:
    """Write one picture; returns its new id, what was done, its size and a small version."""
    image = read(row["path"], 3)
    small = shrunk(image, longest)
    stem = f"train/{name}/{row['source']}{'_' if row['source'] else ''}{content[:12]}"
    if small is image:
        new, data, action = (
            f"{stem}{Path(row['path']).suffix.lower()}",
            Path(row["path"]).read_bytes(),
            "copied",
        )
    else:
        new, data, action = f"{stem}.jpg", _jpeg(small), f"shrunk from {image.shape[1]}x{image.shape[0]}"
    (out / new).parent.mkdir(parents=True, exist_ok=True)
    (out / new).write_bytes(data)
    return new, action, (small.shape[0], small.shape[1]), fit(small, (64, 64))


def _paste(kept: pd.DataFrame, class_names: list[str], out: Path, settings: Settings) -> pd.DataFrame:
    """Paste within folds; a row for each new picture."""
    rng = np.random.default_rng(settings.seed)
    rows = []
    for name, wanted in settings.paste:
        label = class_names.index(name)
        of_class = kept["label"] == label
        count = min(wanted, int(of_class.sum()))
        behind = of_class | (kept["label"] == class_names.index("normal"))
        pairs = []
        for fold in range(settings.folds):
            here = kept["fold"] == fold
            front = foregrounds(kept[here & of_class])
            back = backgrounds(kept[here & behind])
            if len(front) and len(back):
                pairs.append((fold, front, back))
        made = count if pairs else 0
        if made < wanted:
            why = (
                "as many as the class has pictures"
                if made
                else "no fold has both a tall picture and one 600 high"
            )
            print(f"{name}: {made} of {wanted} pictures pasted, {why}")
        for number in range(made):
            fold, front, back = pairs[number % len(pairs)]
            sources = [str(rng.choice(front)), str(rng.choice(back))]
            image = paste(*(read(out / source, 3) for source in sources), rng)
            new = f"train/{name}/aug_{name}_{number}.jpg"
            (out / new).parent.mkdir(parents=True, exist_ok=True)
            (out / new).write_bytes(_jpeg(image))
            rows.append({"id": new, "label": label, "group": f"pasted-{name}-{number}", "source": "", "fold": fold,
                         "train_only": True, "made_of": " ".join(sources)})  # fmt: skip
    columns = ["id", "label", "group", "source", "fold", "train_only", "made_of"]
    return pd.DataFrame(rows, columns=columns)


def _jpeg(image: Image) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _files(root: Path) -> str:
    """A hash of the names and sizes of the training files: whether they have changed."""
    files = sorted(path for path in (root / "train").rglob("*") if path.is_file())
    lines = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in files]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def _made_from(out: Path) -> str | None:
    path = out / "prepared.json"
    return json.loads(path.read_text())["files"] if path.exists() else None


def _say(manifest: pd.DataFrame, out: Path) -> None:
    counts = manifest["action"].str.partition(" ")[0].value_counts()
    print(
        f"prepared: {', '.join(f'{count} {action}' for action, count in counts.items())}; {out / 'manifest.csv'}"
    )
    for row in manifest[manifest["action"] == "contradiction"].to_dict("records"):
        print(f"left out: {row['original']}: {row['note']}")
