"""Small data sets in the contest's layout."""

import json
from pathlib import Path

import cv2
import numpy as np

TREE = {
    "Fruit": {"Apple": {"Gala": "00002", "Pink": "00005"}, "Pear": {"Anjou": "00010"}},
    "Drinks": {"Juice": {"Orange": "00011"}},
}
COUNTS = {2: 6, 5: 4, 10: 9, 11: 5}  # training images of each class


def picture(path: Path, seed: int, height: int = 20, width: int = 12) -> None:
    """A PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())


def write_list(path: Path, pairs: list[tuple[str, object]]) -> None:
    entries = [{"image_id": image, "class_id": class_id} for image, class_id in pairs]
    path.write_text(json.dumps({"images": entries}, indent=0), encoding="utf-8")


def write_layout(
    root: Path, counts: dict[int, int] = COUNTS, held: int = 2, tree: object = TREE, tests: int = 3
) -> Path:
    """`counts` images of each class in train, `held` in val; `tree` None and `held` 0 leave these files out."""
    root.mkdir(parents=True)
    for part, number in (("train", counts), ("val", dict.fromkeys(counts, held))):
        pairs = [(f"{part}{label}_{n}.png", f"{label:05d}") for label in number for n in range(number[label])]
        for image, label in pairs:
            picture(root / part / label / image, len(image) + hash_of(image))
        if pairs:
            write_list(root / f"{part}.json", pairs)
    if tree is not None:
        (root / "product_tree.json").write_text(json.dumps(tree), encoding="utf-8")
    for n in range(tests):
        picture(root / "test" / f"t{n}.png", 1000 + n)
    return root


def hash_of(text: str) -> int:
    """The same in every process, unlike hash()."""
    return int.from_bytes(text.encode()[-6:])
