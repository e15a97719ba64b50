"""Small .gnt files for tests, made by struct alone."""

import struct
from pathlib import Path

import numpy as np

CHARACTERS = "一丁七万丈三上下不与丑专且世"


def record(tag: bytes, image: np.ndarray, size: int | None = None) -> bytes:
    """A record by the format's description; `size` may lie."""
    height, width = image.shape
    size = 10 + width * height if size is None else size
    return struct.pack("<I2sHH", size, tag, width, height) + image.tobytes()


def scrawl(rng: np.random.Generator, least: int = 8, most: int = 24) -> np.ndarray:
    """Some grey pixels."""
    return rng.integers(0, 256, rng.integers(least, most, 2), dtype=np.uint8)


def written(rng: np.random.Generator, name: str, side: int = 28) -> np.ndarray:
    """A picture that tells its character: two dark bars at places that its code gives, on white."""
    image = np.full((side, side), 255, np.uint8)
    code = int.from_bytes(name.encode("gbk"))
    row, column = 3 + code % 7 * 3, 3 + code // 7 % 7 * 3
    image[row : row + 2] = rng.integers(20, 60)
    image[:, column : column + 2] = rng.integers(20, 60)
    return image


def write_writer(path: Path, seed: int, names: str = CHARACTERS, known: bool = True) -> None:
    """A file with each character once, in some order; tags of zero where not `known`."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(list(names))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(record(name.encode("gbk") if known else bytes(2), written(rng, name)) for name in order)
    )
