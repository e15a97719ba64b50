"""Sample data: drawn products in the contest's layout, so that the first command needs no download.

A tree of four levels: 3 kinds of goods, 12 kinds of package, 60 brands, 240 products. The products of a brand share
package, colour, layout and a word on it; they differ in the label's colour and its emblem.
"""

import colorsys
import hashlib
import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.sample.light import lit
from common.sample.packages import EMBLEMS, LAYOUTS, PROFILES, Package, draw_package
from common.sample.pen import Colour, Image, Pen, some_colour
from common.sample.places import place

KINDS = {
    "Drinks": ("bottle", "can", "carton", "cup"),
    "Food": ("box", "bag", "jar", "tin"),
    "Care": ("tube", "pump", "spray", "bar"),
}
BRANDS, VARIANTS = 5, 4  # of each kind of package; of each brand
MOST, LEAST, FALL = 200, 3, 0.75  # images of the n-th largest class: MOST / n ** FALL
WRONG = 0.04  # share of the training images that are listed with a class that is not theirs
WORDS = (  # one for each brand
    "一二三十土士工王玉主"
    "大太犬天夫人入八木本未末禾米口日目田白月山水火女子小心手中上下止正石言寸力刀又己夕文方生牛不平立雨门"
)
SYLLABLES = ("ba", "ko", "li", "mo", "na", "pe", "ri", "sa", "tu", "vo", "za", "mi")


def write_sample(root: Path, seed: int = 0, most: int = MOST, held: int = 2) -> None:
    """Write the contest's layout below `root`: `train/`, `val/`, `test/`, the lists and the tree.

    Beside them, read by nothing: `test_labels.csv`, the classes of `test`, and `wrong_labels.csv`, the training
    images whose class in train.json is not theirs. The folder appears when all of it is written. The same seed gives
    the same files, byte for byte.

    Args:
        most: training images of the largest class; the smallest have 3.
        held: images of each class in `val`, and in `test`; their labels are right.
    """
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "test").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    leaves = catalogue(rng)
    ids = rng.permutation(len(leaves))  # leaf → class: a class's number says nothing of its place in the tree
    counts = np.maximum(LEAST, most / np.arange(1, len(leaves) + 1) ** FALL).astype(int)[
        rng.permutation(len(leaves))
    ]
    listed = wrong_labels(np.repeat(np.arange(len(leaves)), counts), most, rng)
    starts = np.cumsum(counts) - counts
    jobs = []
    for leaf, (start, count) in enumerate(zip(starts, counts, strict=True)):
        folders = [f"train/{ids[shown]:05d}" for shown in listed[start : start + count]]
        folders += [f"val/{ids[leaf]:05d}"] * held + ["test"] * held
        jobs.append((partial, leaf, folders, seed))
    with ProcessPoolExecutor() as pool:
        names = list(pool.map(_write_leaf, *zip(*jobs, strict=True), chunksize=4))
    lists: dict[str, list[dict[str, str]]] = {"train": [], "val": []}
    wrong, tests = [], []
    for leaf, (_, _, folders, _) in enumerate(jobs):
        own = f"{ids[leaf]:05d}"
        for folder, name in zip(folders, names[leaf], strict=True):
            part, _, class_id = folder.partition("/")
            if part == "test":
                tests.append(f"{name},{own}\n")
                continue
            lists[part].append({"image_id": name, "class_id": class_id})
            if class_id != own:
                wrong.append(f"{name},{class_id},{own}\n")
    for part, entries in lists.items():
        _write_json(
            partial / f"{part}.json", {"images": sorted(entries, key=lambda entry: entry["image_id"])}
        )
    _write_json(partial / "product_tree.json", _tree(leaves, ids))
    (partial / "test_labels.csv").write_text("id,class_id\n" + "".join(sorted(tests)), encoding="utf-8")
    (partial / "wrong_labels.csv").write_text(
        "image_id,class_id,true_class_id\n" + "".join(sorted(wrong)), encoding="utf-8"
    )
    partial.rename(root)


def catalogue(rng: np.random.Generator) -> list[tuple[tuple[str, ...], Package]]:
    """All products: names from the top of the tree to the product, and what it looks like."""
    products: list[tuple[tuple[str, ...], Package]] = []
    words = rng.permutation([*WORDS]).tolist()
    names: set[str] = set()
    for kind, shapes in KINDS.items():
        for shape in shapes:
            assert shape in PROFILES
            for brand in range(BRANDS):
                name = ""
                while not name or name in names:
                    name = "".join(rng.choice(SYLLABLES, 3)).title()
                names.add(name)
                hue = (brand + rng.uniform(-0.2, 0.2)) / BRANDS
                body = _colour(hue, rng.uniform(0.1, 0.75), rng.uniform(0.45, 0.98))
                cap, layout = some_colour(rng), LAYOUTS[(brand + rng.integers(2)) % len(LAYOUTS)]
                emblems = rng.choice(EMBLEMS, VARIANTS, replace=False)
                first, word = rng.uniform(), words.pop()
                for variant, emblem in enumerate(emblems.tolist()):
                    accent = _colour(first + variant / VARIANTS, rng.uniform(0.6, 1), rng.uniform(0.4, 0.95))
                    ink = (250.0, 250.0, 245.0) if sum(accent) < 420 else (30.0, 26.0, 34.0)
                    letter = (248.0, 246.0, 240.0) if sum(body) < 420 else (28.0, 28.0, 36.0)
                    look = Package(shape, body, cap, layout, accent, emblem, ink, word, letter)
                    products.append(((kind, shape.title(), name, f"{name} {emblem.title()}"), look))
    return products


def wrong_labels(leaves: NDArray[Any], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The leaf that each training image is listed with: wrong for a share WRONG of them.

    Half of these go to a product of the same brand, half to any. Every class keeps LEAST to `most`
    images, and the smallest and the largest keep theirs.
    """
    listed = leaves.astype(np.int64)
    counts = np.bincount(listed)
    left = round(WRONG * len(leaves))
    for row in rng.permutation(len(leaves)).tolist():
        own = int(leaves[row])
        alike = left % 2 == 0
        other = (
            own // VARIANTS * VARIANTS + int(rng.integers(VARIANTS))
            if alike
            else int(rng.integers(len(counts)))
        )
        if left == 0:
            break
        if other == own or counts[own] in (LEAST, most) or counts[other] >= most:
            continue
        listed[row] = other
        counts[own] -= 1
        counts[other] += 1
        left -= 1
    return listed


def picture(look: Package, rng: np.random.Generator) -> Image:
    """A product somewhere, once or a few times, perhaps half hidden: uint8 RGB (H, W, 3), 96 to 128 pixels a side."""
    height, width = (int(side) for side in rng.integers(96, 129, 2))
    page = place(2 * height, 2 * width, rng)
    copies = int(rng.choice([1, 2, 3], p=[0.72, 0.18, 0.1]))
    side = min(2 * height, 2 * width / (0.5 + 0.5 * copies)) * rng.uniform(0.62, 1.0)
    tilt = rng.normal(0, 0.16) + (rng.choice([-1, 1]) * np.pi / 2 if rng.random() < 0.08 else 0)
    squeeze, shear = rng.uniform(0.8, 1.12), rng.normal(0, 0.06)
    x = width + rng.normal(0, 0.1) * width - 0.25 * side * (copies - 1)
    y = height + rng.normal(0, 0.08) * height
    for _ in range(copies):
        pen = Pen(page, side, (x, y), tilt + rng.normal(0, 0.03))
        pen.matrix = pen.matrix @ np.array([[squeeze, shear], [0, 1]])
        pen.ellipse((0.03, PROFILES[look.shape][-1][0] - 0.03), (0.24, 0.05), (40, 38, 36))  # a shadow
        draw_package(pen, look)
        x += 0.5 * side
    if rng.random() < 0.25:  # something in front
        edge = rng.uniform(-0.6, 0.6)
        pen = Pen(page, side, (width, height), rng.uniform(0, 2 * np.pi))
        pen.limb((0.42, edge), (1.2, edge + 0.2), (rng.uniform(0.15, 0.3), 0.4), some_colour(rng))
    return lit(np.asarray(cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA), np.uint8), rng)


@cache
def _catalogue(seed: int) -> list[tuple[tuple[str, ...], Package]]:
    return catalogue(np.random.default_rng(seed))


def _write_leaf(root: Path, leaf: int, folders: list[str], seed: int) -> list[str]:
    """Draw one image of a leaf into each of the folders; returns their names, each the hash of its file."""
    _, look = _catalogue(seed)[leaf]
    names = []
    for number, folder in enumerate(folders):
        rng = np.random.default_rng((seed, leaf, number))
        bgr = cv2.cvtColor(picture(look, rng), cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 92))]
        data = cv2.imencode(".jpg", bgr, quality)[1].tobytes()
        names.append(f"{hashlib.sha1(data).hexdigest()[:16]}.jpg")
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / names[-1]).write_bytes(data)
    return names


def _tree(leaves: list[tuple[tuple[str, ...], Package]], ids: NDArray[np.int64]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (names, _), number in zip(leaves, ids.tolist(), strict=True):
        node = tree
        for name in names[:-1]:
            node = node.setdefault(name, {})
        node[names[-1]] = f"{number:05d}"
    return tree


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return 255 * red, 255 * green, 255 * blue
