"""The verb `evaluate`: scores of a run on labelled pictures."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from common.data import predictions
from common.data.reading.images import ImageError
from common.data.records import class_folders
from common.data.spreadsheet import to_csv
from common.deliver.predict import OnRun, check_moved, find_run, run_config, take_threads
from common.errors import PodiumError
from common.files import check_inside
from common.report.summary import formatted
from common.run import folder
from common.run.members import read_folds
from common.text import console, printable
from common.trust import also

# part of a run's data → what it is good for, the most honest first
HELD_OUT = {
    "score": "the run's part kept for scores, by which nothing was chosen",
    "choose": "the run's part kept for choices: what was chosen by it scores a little too well",
    "valid": "the run's validation part, by which it was chosen",
}


@dataclass
class Evaluate(OnRun):
    """Options of `evaluate`."""

    input: str | None = (
        None  # folder of class folders; null: the part of the run's own data that no model saw
    )
    out: str | None = None  # folder for scores.json, class_scores.csv, …; null: evaluation/ in the run folder


def evaluate(options: Evaluate) -> Path:
    """Score a run; returns the folder of scores.json, class_scores.csv, confusion.png and predictions.parquet."""
    also(options.trust)
    run = find_run(options.run_dir, options.competition)
    config = run_config(run, options.data)
    out = Path(options.out) if options.out else check_inside(run / "evaluation", run)
    if out.exists() and not out.is_dir():
        raise PodiumError(f"OUT: {out} is a file; evaluate writes several files into a folder")
    own = _held_out(run) if options.input is None else None
    if own is not None:
        check_moved(config)

    from common.report.gallery import draw_confusion
    from common.run.components import make_data
    from common.run.predict_rows import score_table
    from common.run.predictor import Ensemble  # imports torch, which mistakes until here need not wait for

    take_threads(options.threads)
    ensemble = Ensemble.of_run(run, options.checkpoint, options.tta)
    if own is not None and options.data:
        config = run_config(
            Path(ensemble.members[0]["job"]), options.data
        )  # stages may have pictures of their own
        path_of = make_data(config, run).records()[0].set_index("id")["path"]
        own[0]["path"] = own[0]["id"].map(path_of).fillna("gone from data.root")

    table, what = own or _folders(str(options.input), ensemble.class_names)
    if own is not None:
        table = _of_classes(table, ensemble.class_names)
    elif trained_on := _count_trained_on(run, table):
        what += f", {trained_on} of them trained on by this run, which flatters it"
    if config["data"].get("sample"):
        what += ", by a model trained on SAMPLE DATA"
    bad: list[ImageError] = []
    paths = [Path(path) for path in table["path"]]
    rows = ensemble.predict(table["id"].tolist(), paths, options.batch_size, bad, options.max_pixels)
    file = out / "predictions.parquet"
    replaced = folder.load_json(out / "scores.json").get("of") if (out / "scores.json").exists() else None
    if not _write(file, table.set_index("id")["label"].to_dict(), rows):
        raise PodiumError(f"none of the {len(table)} pictures could be read; the first: {bad[0]}")
    scores = score_table(file, ensemble.modules[0], ensemble.class_names)
    said = {"of": what, "mean": ensemble.mean, "members": ensemble.members}
    folder.write_json(out / "scores.json", {**scores, "unreadable": len(bad), **said})
    to_csv(pd.DataFrame(scores["per_class"]), out / "class_scores.csv")
    draw_confusion(out / "confusion.png", predictions.read_top(file), ensemble.class_names)
    _print(scores, f"{what} ({ensemble.how})", bad, out)
    if replaced is not None:
        print(f"there it has replaced the evaluation of {replaced}; OUT=<folder> keeps both")
    return out


def _write(file: Path, label_of: dict[str, int], rows: Iterator[tuple[str, np.ndarray]]) -> bool:
    """Write predictions as they are computed, with at most 1,024 of them in memory; whether there are any.

    label_of: image → label. rows: image, probabilities float32 (K,).
    """
    ids: list[str] = []
    labels: list[int] = []

    def pieces() -> Iterator[np.ndarray]:
        while piece := list(islice(rows, predictions.ROWS)):
            ids.extend(image for image, _ in piece)
            labels.extend(label_of[image] for image, _ in piece)
            yield np.stack([probabilities for _, probabilities in piece])

    found = pieces()
    first = next(found, None)
    if first is not None:
        predictions.write(file, ids, labels, chain([first], found))
    return first is not None


def _folders(source: str, class_names: list[str]) -> tuple[pd.DataFrame, str]:
    return class_folders(Path(source), class_names, allow_empty=True)[0], source


def _count_trained_on(run: Path, table: pd.DataFrame) -> int:
    """How many of these files the run's own training pictures are."""
    if not (run / "folds.csv").exists():  # a blend
        return 0
    known = read_folds(run)
    trained_on = {os.path.realpath(path) for path in known["path"][known["part"] == "train"]}
    return sum(os.path.realpath(path) in trained_on for path in table["path"])


def _held_out(run: Path) -> tuple[pd.DataFrame, str]:
    """The most honest part of the run's own data that none of its models was trained on, and what it is."""
    table = read_folds(run)
    parts = set(table["part"])
    if (table["fold"] >= 0).any():
        parts.discard("valid")  # the pictures that one fold held out, the others were trained on
    for part, what in HELD_OUT.items():
        if part in parts:
            return table[table["part"] == part].reset_index(drop=True), what
    raise PodiumError(
        f"{run}: its folds cover all its pictures, so there is no part that no model saw. Name labelled pictures "
        "by INPUT=<folder of class folders>, or train with a part kept out of every fold, such as "
        'ARGS="data.score=0.1"'
    )


def _of_classes(table: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """The pictures whose class the models know, with its label there: stages may have classes of their own."""
    label_of = {name: label for label, name in enumerate(class_names)}
    known = table[table["class"].isin(label_of)]
    if not len(known):
        raise PodiumError(
            f"none of the {len(table)} pictures is of a class that the models know: name others by INPUT=<folder>"
        )
    if len(known) < len(table):
        print(f"{len(table) - len(known)} pictures are of classes that the models do not know, and left out")
    return known.assign(label=known["class"].map(label_of)).reset_index(drop=True)


def _print(scores: dict, what: str, bad: list[ImageError], out: Path) -> None:
    terminal = console(soft_wrap=True)  # lines stay whole where they are read by programs
    named = {"top1": "top-1", "top5": "top-5"}
    measured = {key: value for key, value in scores.items() if isinstance(value, float)}
    head = [f"{named.get(key, key)} {formatted(key, value)}" for key, value in measured.items()]
    terminal.print(f"{scores['images']} images of {what}")
    terminal.print(", ".join(head))
    if bad:
        terminal.print(f"{len(bad)} could not be read and are left out, the first: {bad[0]}")
    table = Table("class", "precision", "recall", "support", title="lowest recall first")
    seen = [row for row in scores["per_class"] if row["support"]]
    for row in sorted(seen, key=lambda row: row["recall"])[:10]:
        precision = "–" if row["precision"] is None else f"{row['precision']:.3f}"
        table.add_row(printable(row["class"]), precision, f"{row['recall']:.3f}", str(row["support"]))
    terminal.print(table)
    terminal.print(f"all classes: {out / 'class_scores.csv'}; mistakes: {out / 'confusion.png'}")
