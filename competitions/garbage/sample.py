"""Sample data: drawn waste in the contest's layout, under the contest's forty names, so that nothing is downloaded."""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from common.sample.light import lit
from common.sample.pen import Image, Pen, some_colour
from common.sample.places import place
from competitions.garbage.items import thing
from competitions.garbage.labels import RULE

ITEMS = {  # in the order of the contest's classes
    "其他垃圾": "一次性快餐盒 污损塑料 烟蒂 牙签 破碎花盆及碟碗 竹筷",
    "厨余垃圾": "剩饭剩菜 大骨头 水果果皮 水果果肉 茶叶渣 菜叶菜根 蛋壳 鱼骨",
    "可回收物": (
        "充电宝 包 化妆品瓶 塑料玩具 塑料碗盆 塑料衣架 快递纸袋 插头电线 旧衣服 易拉罐 枕头 毛绒玩具 洗发水瓶 玻璃杯 "
        "皮鞋 砧板 纸板箱 调料瓶 酒瓶 金属食品罐 锅 食用油桶 饮料瓶"
    ),
    "有害垃圾": "干电池 软膏 过期药物",
}
CLASSES = [f"{group}/{item}" for group, items in ITEMS.items() for item in items.split()]
# Training pictures of the smallest and the largest class; the contest's have 85 and 736.
LEAST, MOST = 8, 48


def write_sample(root: Path, seed: int = 0, most: int = MOST, tests: int = 100) -> None:
    """Write `train_data/img_N.jpg` and `.txt`, `test/`, the rule file and `test_labels.csv` below `root`.

    The folder appears when all of it is written. The same seed gives the same files, byte for byte.

    Args:
        most: training pictures of the largest class; the smallest has a sixth of that.
        tests: pictures of `test`, whose labels stand in `test_labels.csv` and are read by nothing.
    """
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ("train_data", "test"):
        (partial / folder).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    counts = rng.permutation(np.geomspace(most * LEAST / MOST, most, len(CLASSES)).round().astype(int))
    labels = rng.permutation(np.repeat(np.arange(len(CLASSES)), np.maximum(2, counts))).tolist()
    tested = rng.permutation(np.arange(tests) % len(CLASSES)).tolist()
    jobs = [("train_data", n, label, seed) for n, label in enumerate(labels, start=1)]
    jobs += [("test", n, label, seed) for n, label in enumerate(tested, start=len(labels) + 1)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, [partial] * len(jobs), jobs, chunksize=16))
    rule = json.dumps({str(n): name for n, name in enumerate(CLASSES)}, ensure_ascii=False, indent=4)
    (partial / RULE).write_text(rule + "\n", encoding="utf-8")
    rows = "".join(f"img_{n}.jpg,{label}\n" for _, n, label, _ in jobs[len(labels) :])
    (partial / "test_labels.csv").write_text(f"image,class\n{rows}", encoding="utf-8")
    partial.rename(root)


def picture(label: int, rng: np.random.Generator) -> Image:
    """A piece of waste somewhere, sometimes two, turned and partly out of sight: uint8 RGB (H, W, 3)."""
    height, width = (int(side) for side in rng.integers(80, 129, 2))
    if rng.random() < 0.7:  # on a table
        page: Image = np.full((2 * height, 2 * width, 3), some_colour(rng), np.uint8)
    else:
        page = place(2 * height, 2 * width, rng)
    draw = thing(CLASSES[label])
    for _ in range(1 + (rng.random() < 0.2)):
        side = min(2 * height, 2 * width) * rng.uniform(0.6, 0.95)
        x, y = np.array([width, height]) * (1 + rng.normal(0, 0.1, 2))
        tilt = rng.normal(0, 0.3) if rng.random() < 0.85 else rng.uniform(0, 2 * np.pi)
        pen = Pen(page, side, (x, y), tilt)
        pen.matrix = pen.matrix @ np.array([[rng.uniform(0.8, 1.15), rng.normal(0, 0.08)], [0, 1]])
        if rng.random() < 0.5:
            pen.matrix = pen.matrix @ np.diag([-1.0, 1.0])
        draw(pen, rng)
    return lit(np.asarray(cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA), np.uint8), rng)


def _write(root: Path, job: tuple[str, int, int, int]) -> None:
    folder, number, label, seed = job
    rng = np.random.default_rng((seed, number))
    bgr = cv2.cvtColor(picture(label, rng), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 92))])[1].tobytes()
    (root / folder / f"img_{number}.jpg").write_bytes(data)
    if folder == "train_data":
        (root / folder / f"img_{number}.txt").write_text(f"img_{number}.jpg, {label}", encoding="utf-8")
