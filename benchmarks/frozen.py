"""`bench=frozen`: a classifier trained on a frozen backbone's features, beside the same training on images.

make bench COMP=aliproducts DATA=… BENCH=frozen ARGS="experiment=aliproducts_cpu epochs=8"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.shared import table
from benchmarks.shared.words import check_single, options_and_recipe, recipe
from common.errors import PodiumError
from common.run import environment, folder
from common.run.jobs import jobs_of
from common.train import job
from common.train.frozen_backbone import pays_from
from common.train.train import start, with_data

NOTES = (
    "first pass: seconds of computing the features; later epoch: the median of the epochs after the first, validation "
    "included",
    "ratio: a later epoch on images / on features; pays from: the first epoch at whose end features took less in all",
    "difference: on features - on images, of the last validation",
)


@dataclass
class Frozen:
    """Options of `bench=frozen`; all other words belong to the recipe."""

    epochs: int = 5  # of each of the two, at least 2

    def __post_init__(self) -> None:
        if self.epochs < 2:
            raise PodiumError(f"epochs must be at least 2, got {self.epochs}")


def main(words: Sequence[str]) -> None:
    """Train both in turn, print the table and write it to `runs/bench/<time>/frozen.{csv,md}`."""
    options, given = options_and_recipe(Frozen, words)
    given = [
        "views=none",
        "callbacks.freeze.modules=[backbone]",
        *given,
        f"trainer.max_epochs={options.epochs}",
    ]
    config = with_data(recipe(given))
    check_single(config, "frozen")
    out = table.new_folder()
    job.quiet_lightning()
    images, features = (trained(config, out, on_features) for on_features in (False, True))
    ratio = images["later epoch"] / max(features["later epoch"], 1e-3)
    pays = pays_from(features["first pass"], images["later epoch"], features["later epoch"])
    metrics = [name for name in ("top-1 %", "loss") if name in images]
    rows = [
        {"on": "images", **images},
        {"on": "features", **features, "ratio": round(ratio, 1), "pays from": pays},
        {"on": "difference", **{name: round(features[name] - images[name], 5) for name in metrics}},
    ]
    machine = environment.describe()
    notes = [*NOTES, f"{machine['system']}, {machine['cpus']} cores, torch {torch.__version__}"]
    table.write(out, "frozen", rows, notes)
    print((out / "frozen.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def trained(config: dict[str, Any], out: Path, on_features: bool) -> dict[str, Any]:
    """Train the recipe through run/job.py; what it took and what it scored at the end."""
    settings = {**config, "trainer": {**config["trainer"], "frozen_features": on_features}}
    run = out / ("features" if on_features else "images")
    waves = jobs_of(settings)
    start(run, settings, waves)
    place = run / "jobs" / waves[0][0].name
    job.run_job(place)
    history = pd.read_csv(place / "history.csv")
    passes = [folder.load_json(file, list[float])[1] for file in run.glob("features/*/progress.json")]
    last = history.iloc[-1]
    return {
        "first pass": round(sum(passes), 4),
        "later epoch": round(float(history["seconds"].diff().median()), 4),
        "top-1 %": round(100 * last["valid_top1"], 2),
        "loss": round(last["valid_loss"], 5),
    }
