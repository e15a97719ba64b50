"""`bench=cleaning`: are wrong labels found, and does leaving them out help? Planted where training alone sees them."""

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
from common.data import predictions
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import out_of_fold_path, reliable_list
from common.run.members import read_folds
from common.train import job
from common.train.train import train, with_data

STAGES = {  # row -> stage and its words; the stages judge and plain judge for the last two
    "no cleaning": ("plain", []),
    "out of fold": ("believed", ["stages.believed.clean_from=judge"]),
    "original": ("right", ["stages.right.clean_from=plain", "stages.right.clean_by=original"]),
}


@dataclass
class Cleaning:
    """Options of `bench=cleaning`; all other words belong to the recipe, which has no stages of its own."""

    share: float = 0.2  # of the training images of each class that get a wrong label, (0, 1)
    folds: int = 5  # of the models that judge what they have not seen, >= 2
    lookalikes: int = (
        3  # a look-alike label is one of the so many classes that the right one is most confused with
    )
    plant_seed: int = 0

    def __post_init__(self) -> None:
        at_least("folds", self.folds, 2)
        at_least("lookalikes", self.lookalikes, 1)
        if not 0 < self.share < 1:
            raise PodiumError(f"share must be in (0, 1), got {self.share}")


def main(words: Sequence[str]) -> None:
    """Train the rows, print the table and write it to `runs/bench/<time>/cleaning.{csv,md}`."""
    options, given = options_and_recipe(Cleaning, words)
    config = with_data(recipe(given))
    out = table.new_folder()
    job.quiet_lightning()
    common = [
        *given,
        f"data.root={quote(str(config['data']['root']))}",
        f"stages.judge.folds={options.folds}",
    ]
    clean = out / "clean"
    train(recipe([*common, "stages.plain.folds=null", f"run_dir={quote(str(clean))}"]))
    rows = [_row("none", "labels as they came", clean, "plain", None)]
    split = read_folds(clean)
    names = names_by_label(split)
    alike = confused(out_of_fold_path(clean, "judge"), len(names))[:, : options.lookalikes]
    for kind, choices in (("symmetric", None), ("look-alike", alike)):
        wrong = plant(split, len(names), options.share, options.plant_seed, choices)
        path = out / f"{kind}.csv"
        wrong.assign(**{"class": [names[label] for label in wrong["label"]]})[["id", "class"]].to_csv(
            path, index=False
        )
        run = out / kind
        stages = ["stages.plain.folds=null", *(word for _, more in STAGES.values() for word in more)]
        places = [f"data.corrections={quote(str(path))}", f"data.split={quote(str(clean / 'folds.csv'))}"]
        train(recipe([*common, *stages, *places, f"run_dir={quote(str(run))}"]))
        rows += [_row(kind, name, run, stage, set(wrong["id"])) for name, (stage, _) in STAGES.items()]
        table.write(out, "cleaning", rows, _notes(options))
    print((out / "cleaning.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def plant(
    split: pd.DataFrame, classes: int, share: float, seed: int, choices: np.ndarray | None = None
) -> pd.DataFrame:
    """Training images with wrong labels: columns id, label, by id.

    split: columns id, label, part. Of each class the share is taken by chance, rounded down, so that right ones remain.
    choices: int64 (K, M), the classes of which each class's wrong labels are drawn; None: all others, alike.
    """
    rng = np.random.default_rng(seed)
    found = []
    for label, rows in split[split["part"] == "train"].sort_values("id").groupby("label"):
        taken = rng.permutation(rows["id"].to_numpy())[: int(share * len(rows))]
        others = np.delete(np.arange(classes), label) if choices is None else choices[label]
        found += zip(taken, rng.choice(others, len(taken)).tolist(), strict=True)
    return pd.DataFrame(sorted(found), columns=["id", "label"])


def confused(path: Path, classes: int) -> np.ndarray:
    """The other classes, the most probable first, by what models say of a class's images: int64 (K, K - 1)."""
    sums = np.zeros((classes, classes))
    for frame, rows in predictions.batches(path):
        np.add.at(sums, frame["label"].to_numpy(), rows)
    np.fill_diagonal(sums, -1)
    return np.argsort(-sums, axis=1, kind="stable")[:, :-1]


def found_of(path: Path, wrong: set[str]) -> tuple[float, float]:
    """Precision and recall of a list of cleaning: of what it leaves out, how much is wrong, and how much of that."""
    listed = pd.read_parquet(path)
    left_out = set(listed["id"][~listed["kept"]])
    return len(left_out & wrong) / max(1, len(left_out)), len(left_out & wrong) / max(1, len(wrong))


def names_by_label(split: pd.DataFrame) -> list[str]:
    """The names of all classes, index = label."""
    return split.drop_duplicates("label").set_index("label")["class"].sort_index().tolist()


def _row(kind: str, name: str, run: Path, stage: str, wrong: set[str] | None) -> dict[str, Any]:
    scores = folder.load_json(run / "scores.json")["stages"][stage]
    history = pd.read_csv(run / "jobs" / f"{stage}_fold0" / "history.csv")
    top1 = scores.get("score_top1", history["valid_top1"].iloc[-1])
    row = {
        "wrong labels": kind,
        "cleaning": name,
        "precision %": "",
        "recall %": "",
        "top-1 %": f"{100 * top1:.2f}",
    }
    config = folder.load_config(run / "jobs" / f"{stage}_fold0")
    path = reliable_list(config, run)
    if wrong is not None and path is not None:
        precision, recall = found_of(path, wrong)
        row |= {"precision %": f"{100 * precision:.1f}", "recall %": f"{100 * recall:.1f}"}
    return row


def _notes(options: Cleaning) -> list[str]:
    return [
        f"{100 * options.share:g} % of the training images of each class have a wrong label: any other class "
        f"(symmetric), or one of the {options.lookalikes} that the class is most confused with (look-alike)",
        "precision: share of the images left out whose label was planted; what was wrong before counts against it",
        "recall: share of the planted ones that are left out",
        "top-1 of the last epoch on the validation part: right labels would choose an epoch before wrong ones are "
        "learnt; with data.score, of the best checkpoint on that part; one seed",
        f"out of fold: {options.folds} models judge what they have not seen; original: one model what it has",
    ]
