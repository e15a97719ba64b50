"""The pictures of a run, drawn from its files."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.data import predictions
from common.data.module import ImageData
from common.data.reading.images import MAX_PIXELS, ImageError, read
from common.data.records import leave_out
from common.data.split.duplicate_list import read_near_duplicates
from common.files import written
from common.report import pictures
from common.report.confusion import confusion
from common.report.label_issues import write_doubts
from common.run import folder
from common.run.members import class_names, read_folds
from common.task.scores import confusion_counts

MISTAKES, VIEWS, PAIRS = 40, 48, 40  # tiles or pairs a sheet


def draw(run: Path, jobs: list[Path]) -> None:
    """Write learning curves, confusion matrix, the worst mistakes and the views of `jobs` into `run/pictures`.

    jobs: the folds of one stage, or its only job.
    """
    if (jobs[0] / "views.png").exists():
        folder.copy(jobs[0] / "views.png", _in(run, "views"))
    histories = [pd.read_csv(job / "history.csv") for job in jobs if (job / "history.csv").exists()]
    if histories:
        chosen_by = next(iter(folder.load_config(jobs[0])["best"]))
        folds = [history.assign(fold=number) for number, history in enumerate(histories)]
        _save(
            pictures.learning_curves(pd.concat(folds, ignore_index=True), chosen_by),
            _in(run, "learning_curves"),
        )
    tables = [predictions.read_top(folder.predictions_path(job, "valid")) for job in jobs]
    table = pd.concat(tables, ignore_index=True)
    names = class_names(jobs[0])
    draw_confusion(_in(run, "confusion"), table, names)
    wrong = table[table["label"] != table["predicted"]]
    wrong = wrong.sort_values("probability", ascending=False).head(MISTAKES)
    if len(wrong):
        images, wrong = _images(run, wrong)
    if len(wrong):
        _save(pictures.worst_mistakes(images, wrong, names), _in(run, "worst_mistakes"))


def draw_confusion(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    """Write the confusion matrix of predictions; table: label, predicted (ints into `names`)."""
    labels, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
    _save(confusion(confusion_counts(labels, predicted, len(names)), names), path)


def doubts(run: Path, table: Path, names: list[str]) -> None:
    """Write `doubts.csv` from out-of-fold predictions of the classes `names`, and a sheet of the most doubtful."""
    found = write_doubts(run, table, names)
    if found is None or not len(found):
        return
    found = found.head(MISTAKES)
    label_of = {name: label for label, name in enumerate(names)}
    rows = found.assign(label=found["was"].map(label_of), predicted=found["class"].map(label_of))
    images, rows = _images(run, rows)
    if not len(rows):
        return
    title = "Labels that models doubt which have not seen the picture"
    _save(pictures.worst_mistakes(images, rows, names, title, ("label", "seen")), _in(run, "doubts"))


def _images(run: Path, rows: pd.DataFrame) -> tuple[list[np.ndarray], pd.DataFrame]:
    """The pictures of rows with a column id, and the rows that have one: what is gone since is left out."""
    path_of = read_folds(run).set_index("id")["path"]
    data = folder.load_config(run)["data"]
    most = data.get("max_pixels", MAX_PIXELS)
    images: dict[int, np.ndarray] = {}
    bad: list[ImageError] = []
    for row, image in enumerate(rows["id"]):
        try:
            images[row] = read(path_of[image], data.get("channels", 3), max_pixels=most)
        except ImageError as error:
            bad.append(error)
    leave_out(bad, run)
    return list(images.values()), rows.iloc[list(images)]


def _in(run: Path, name: str) -> Path:
    return run / "pictures" / f"{name}.png"


def draw_views(path: Path, data: ImageData) -> None:
    """Write a sheet of training images as the network sees them in the first epoch."""
    rows = data.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(VIEWS, len(rows))).astype(int)]
    batch = data.train_images.__getitems__([(0, int(row)) for row in rows])
    images = data.batch_view(batch["image"].float().div_(255), batch["key"])
    shown = (images.clamp(0, 1) * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    labels = batch["label"].tolist()
    _save(pictures.view_sheet(shown, [data.class_names[label] for label in labels], labels), path)


def draw_near_duplicates(data: ImageData) -> None:
    """Draw a sheet of the first pairs of `near_duplicates.csv`, if there are any, as the network sees the pictures."""
    path = data.folder / "near_duplicates.csv"
    if not path.exists() or data.table is None:
        return
    rows = read_near_duplicates(path)
    row_of = {image: row for row, image in enumerate(data.table["id"])}
    rows = rows[rows["id"].isin(row_of) & rows["other"].isin(row_of)].head(PAIRS)
    if len(rows):
        ids = rows[["id", "other"]].to_numpy().ravel()
        images = data.valid_images.__getitems__([(0, row_of[image]) for image in ids])["image"]
        shown = images.numpy().transpose(0, 2, 3, 1).reshape(len(rows), 2, *images.shape[2:], -1)
        _save(pictures.near_duplicates(shown, rows, data.class_names), _in(data.folder, "near_duplicates"))


def _save(figure: Figure, path: Path) -> None:
    with written(path, str(os.getpid())) as partial:  # jobs side by side draw it at a time
        figure.savefig(partial, format="png")
