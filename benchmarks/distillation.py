"""`bench=distillation`: does it help? Folds, students, blends and the small ideas on a part that no model saw."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.shared import table
from benchmarks.shared.words import options_and_recipe, recipe
from common.config.overrides import quote
from common.config.schema import at_least
from common.data.module import ImageData
from common.data.split.folds import split
from common.ensemble.blend import Blend, blend
from common.errors import PodiumError
from common.run import folder
from common.run.components import make_data
from common.sweep.ranking import paired
from common.train import job
from common.train.train import train, with_data

BASELINE = "supervised"
SINGLE = {  # row -> what it changes in the recipe; smoothing and TTA are off in all others
    BASELINE: [],
    "+ smoothing": ["loss.smoothing=0.1"],
    "+ OHEM": ["callbacks.ohem.keep=0.7"],
}
PLAIN = ["loss.smoothing=0", "callbacks.tta=null"]
DISTILLED = ["stages.teacher.folds=5", "stages.student.soft_labels_from=teacher"]


@dataclass
class Distillation:
    """Options of `bench=distillation`; all other words belong to the recipe."""

    per_class: int = 20  # training and validation images of each class
    choose: int = 10  # images of each class to choose the blend by; all others are the part that is reported
    seeds: Any = 0  # or a list: [0,1,2]

    def __post_init__(self) -> None:
        at_least("per_class", self.per_class, 10)
        at_least("choose", self.choose, 1)
        self.seeds = self.seeds if isinstance(self.seeds, list) else [self.seeds]
        if not all(type(seed) is int and seed >= 0 for seed in self.seeds):
            raise PodiumError(f"seeds must be a number or a list such as [0,1,2], got {self.seeds}")


def main(words: Sequence[str]) -> None:
    """Train the rows for each seed, print the table and write it to `runs/bench/<time>/distillation.{csv,md}`."""
    options, given = options_and_recipe(Distillation, words)
    config = with_data(recipe(given))
    out = table.new_folder()
    job.quiet_lightning()
    data = make_data(config, out)
    data.setup()
    root = quote(str(config["data"]["root"]))
    common = [*given, f"data.root={root}", *PLAIN]
    found: dict[str, dict[int, tuple[float, float, int]]] = {}  # row -> seed -> top-1, seconds, models
    for seed in options.seeds:
        parts = out / f"split{seed}.csv"
        notes = divide(data, options, seed, parts)
        base = [*common, f"seed={seed}", f"data.split={quote(str(parts))}"]
        for name, (top1, seconds, models) in one_seed(base, given, out / f"seed{seed}").items():
            found.setdefault(name, {})[seed] = top1, seconds, models
        table.write(out, "distillation", _rows(found), notes)
    print((out / "distillation.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def divide(data: ImageData, options: Distillation, seed: int, path: Path) -> list[str]:
    """Write a split with so many images of each class to learn from; by group. Returns what to say about it."""
    assert data.table is not None
    records = data.table
    smallest = int(records["label"].value_counts().min())
    if options.per_class + options.choose >= smallest:
        raise PodiumError(
            f"per_class={options.per_class} and choose={options.choose} leave nothing to score: "
            f"the smallest class has {smallest} images"
        )
    classes = len(data.class_names)
    part = pd.Series("score", index=records.index)
    for name, count in (("train", options.per_class), ("choose", options.choose)):
        rest = records[part == "score"]
        part[rest.index[split(rest, count * classes / len(rest), seed) == "valid"]] = name
    learnt = records[part == "train"]
    part[learnt.index[split(learnt, 0.1, seed) == "valid"]] = "valid"
    records.assign(part=part)[["id", "group", "part"]].to_csv(path, index=False)
    counts = part.value_counts().to_dict()
    return [
        f"{counts['train']} training, {counts['valid']} validation, {counts['choose']} choosing and {counts['score']} "
        f"scored images of {classes} classes, divided by group, anew for each seed",
        "top-1 on the scored images, which no model was trained, selected or chosen by; mean ± sd over seeds",
        f"difference: to «{BASELINE}», paired over seeds, with its 95 % interval (t-distribution)",
        "supervised and the rows with + train one model on all training images; the teachers train on four fifths each",
        "seconds: of training, all models of the row",
    ]


def one_seed(base: list[str], given: list[str], out: Path) -> dict[str, tuple[float, float, int]]:
    """Row -> top-1 on the scored part, seconds of training, number of models."""
    found = {}
    runs = []
    for name, changes in SINGLE.items():
        run = out / name.strip("+ ").lower()
        found[name] = *_trained([*base, *changes], run), 1
        runs.append(run)
    views = recipe(given)["callbacks"]["tta"]
    if views is not None:
        run = out / "tta"
        kept = [word for word in base if word != "callbacks.tta=null"]
        scores, _ = _trained([*kept, f"weights_from={quote(str(runs[0]))}"], run)
        found["+ TTA"] = scores, found[BASELINE][1], 1
    run = out / "distilled"
    student, seconds = _trained([*base, *DISTILLED], run)
    teachers = folder.load_json(run / "scores.json")["stages"]["teacher"]
    student_seconds = _seconds(run / "jobs" / "student_fold0")
    found["one teacher (mean of 5)"] = teachers["score_top1_single"], (seconds - student_seconds) / 5, 1
    found["out-of-fold ensemble"] = teachers["score_top1"], seconds - student_seconds, 5
    found["distilled student"] = student, seconds, 1
    chosen = blend(Blend(run_dir=[str(one) for one in (*runs, run)], max=3, out=str(out / "blend")))
    scores = folder.load_json(chosen / "scores.json")
    models = len(folder.load_json(chosen / "members.json")["members"])
    found["best blend of ≤ 3"] = (
        scores["score_top1"],
        sum(found[name][1] for name in SINGLE) + seconds,
        models,
    )
    return found


def _trained(words: list[str], run: Path) -> tuple[float, float]:
    """(top-1 on the scored part, seconds of training) of the run's last stage."""
    began = time.perf_counter()
    train(recipe([*words, f"run_dir={quote(str(run))}"]))
    scores = folder.load_json(run / "scores.json")
    jobs = [path for path in (run / "jobs").iterdir() if (path / "history.csv").exists()]
    seconds = sum(map(_seconds, jobs)) if jobs else time.perf_counter() - began
    return scores["score_top1"], seconds


def _seconds(job_folder: Path) -> float:
    return float(pd.read_csv(job_folder / "history.csv")["seconds"].iloc[-1])


def _rows(found: dict[str, dict[int, tuple[float, float, int]]]) -> list[dict[str, Any]]:
    top1 = {name: {seed: 100 * row[0] for seed, row in seeds.items()} for name, seeds in found.items()}
    rows = []
    for name, seeds in found.items():
        values = list(top1[name].values())
        difference = paired(top1[name], top1[BASELINE]) if name != BASELINE else None
        told = difference is not None and difference.low == difference.low
        rows.append(
            {
                "row": name,
                "models": "/".join(str(models) for models in sorted({row[2] for row in seeds.values()})),
                "seconds": round(float(np.mean([row[1] for row in seeds.values()]))),
                "top-1 %": f"{np.mean(values):.2f}"
                + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""),
                "difference": f"{difference.mean:+.2f}" if difference is not None else "",
                "95 % interval": f"{difference.low:+.2f} to {difference.high:+.2f}" if told else "",
                "verdict": _verdict(difference.low, difference.high) if told else "",
            }
        )
    return rows


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not distinguishable"
