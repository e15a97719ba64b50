"""Cleaning: every picture once, not larger than needed, under a name that tells its source."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from common.data.reading.images import Image, ImageError, fit, read
from common.errors import PodiumError

QUALITY = 95  # of JPEGs


def clean(
    table: pd.DataFrame, class_names: Sequence[str], out: Path, longest: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write `out/train/<class>/<source>_<hash of the pixels>.<suffix>` for each picture that is kept.

    table: columns id, path, label, source, train_only. What others pasted (`train_only`) is left out, since nobody
    knows from what.

    Returns the pictures written (columns id, label, source, height, width, small: uint8 (64, 64, 3)) and a manifest
    of all (id, empty if left out; original; class; action; note). Raises PodiumError if none can be kept.
    """
    table = table.sort_values("id", ignore_index=True)
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(content, table["path"]))
        found = verdicts(table, contents, class_names)
        kept = [row for row, (action, _) in enumerate(found) if action == "kept"]
        if not kept:
            raise PodiumError(f"none of the {len(table)} pictures can be kept; the first: {found[:1]}")
        rows = table.iloc[kept].to_dict("records")
        written = list(
            pool.map(lambda row, name: _write(row, name, class_names[row["label"]], out, longest),
                     rows, [contents[row] for row in kept])
        )  # fmt: skip
    manifest = table[["id", "label"]].rename(columns={"id": "original"}).assign(id="")
    manifest[["action", "note"]] = found
    manifest["class"] = [class_names[label] for label in manifest["label"]]
    manifest.loc[kept, "id"] = [row["id"] for row in written]
    manifest.loc[kept, ["action", "note"]] = [[row.pop("action"), row.pop("note")] for row in written]
    return pd.DataFrame(written), manifest[["id", "original", "class", "action", "note"]]


def content(path: str) -> str | ImageError:
    """A hash of the pixels, so that a picture is known again in another file format; or why it cannot be read."""
    try:
        image = read(path, 3)
    except ImageError as error:
        return error
    return hashlib.sha1(f"{image.shape} ".encode() + image.tobytes()).hexdigest()


def verdicts(
    table: pd.DataFrame, contents: Sequence[str | ImageError], class_names: Sequence[str]
) -> list[tuple[str, str]]:
    """(action, note) for each row: of equal pictures the first is kept; where their labels differ, none is."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    found = [("kept", "")] * len(table)
    for row, (pasted, what) in enumerate(zip(table["train_only"], contents, strict=True)):
        if pasted:
            found[row] = "left out", "pasted by others, from what is unknown"
        elif isinstance(what, ImageError):
            found[row] = "unreadable", what.reason
        else:
            rows_of[what].append(row)
    for rows in rows_of.values():
        said = sorted({class_names[label] for label in table["label"].iloc[rows]})
        if len(said) > 1:
            ids = ", ".join(table["id"].iloc[rows])
            for row in rows:
                found[row] = "contradiction", f"the same picture is labelled {' and '.join(said)}: {ids}"
        else:
            for row in rows[1:]:
                found[row] = "duplicate", f"of {table['id'].iloc[rows[0]]}"
    return found


def shrunk(image: Image, longest: int) -> Image:
    """Where both sides are longer than `longest`, the longer one becomes it, by area. uint8 (H, W, C) → the same."""
    height, width = image.shape[:2]
    if min(height, width) <= longest:
        return image
    ratio = longest / max(height, width)
    return fit(image, (max(1, round(height * ratio)), max(1, round(width * ratio))))


def write_jpeg(path: Path, image: Image) -> None:
    """Write uint8 RGB (H, W, 3), making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def _write(row: dict[str, Any], name: str, class_name: str, out: Path, longest: int) -> dict[str, Any]:
    image = read(row["path"], 3)
    small = shrunk(image, longest)
    height, width = small.shape[:2]
    stem = f"train/{class_name}/{row['source']}{'_' if row['source'] else ''}{name[:12]}"
    if small is image:
        new, action, note = f"{stem}{Path(row['path']).suffix.lower()}", "copied", ""
        (out / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(row["path"], out / new)
    else:
        new, action, note = (
            f"{stem}.jpg",
            "shrunk",
            f"from {image.shape[1]}x{image.shape[0]} to {width}x{height}",
        )
        write_jpeg(out / new, small)
    return {"id": new, "label": row["label"], "source": row["source"], "height": height, "width": width,
            "small": fit(small, (64, 64)), "action": action, "note": note}  # fmt: skip
