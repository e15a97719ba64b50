"""The pictures of a run, drawn from its files."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.data.images import read
from common.data.module import ImageData
from common.run import folder, pictures, predictions
from common.run.confusion import confusion
from common.run.scores import confusion_counts

MISTAKES, VIEWS = 40, 48  # tiles a sheet


def draw(run: Path, job: Path) -> None:
    """Write learning curves, confusion matrix and the worst mistakes of `job` into `run/pictures`."""
    history = job / "history.csv"
    if history.exists():
        _save(pictures.learning_curves(pd.read_csv(history)), run / "pictures" / "learning_curves.png")
    if not (job / "predictions.parquet").exists():
        return
    table, probabilities = predictions.read(job / "predictions.parquet")
    split = pd.read_csv(run / "split.csv", dtype={"id": str, "class": str}, keep_default_na=False)
    names = [str(name) for name in split.drop_duplicates("label").sort_values("label")["class"]]
    labels, predicted = table["label"].to_numpy(), probabilities.argmax(axis=1)
    counts = confusion_counts(labels, predicted, len(names))
    _save(confusion(counts, names), run / "pictures" / "confusion.png")
    wrong = table.assign(predicted=predicted, probability=probabilities.max(axis=1))[labels != predicted]
    wrong = wrong.sort_values("probability", ascending=False).head(MISTAKES)
    if len(wrong):
        path_of = split.set_index("id")["path"]
        channels = folder.load_config(run)["data"].get("channels", 3)
        images = [read(path_of[image], channels) for image in wrong["id"]]
        _save(pictures.worst_mistakes(images, wrong, names), run / "pictures" / "worst_mistakes.png")


def draw_views(path: Path, data: ImageData) -> None:
    """Write a sheet of training images as the network sees them in the first epoch."""
    rows = data.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(VIEWS, len(rows))).astype(int)]
    batch = data.train_images.__getitems__([(0, int(row)) for row in rows])
    images = data.batch_view(batch["image"].float().div_(255), batch["key"])
    shown = (images.clamp(0, 1) * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    labels = batch["label"].tolist()
    _save(pictures.view_sheet(shown, [data.class_names[label] for label in labels], labels), path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
