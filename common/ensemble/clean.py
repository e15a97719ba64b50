"""Cleaning between stages: which training images a later stage learns from, judged by the models of an earlier one.

`reliable_train.parquet` and `.csv` in the run folder have a row for each judged image: id, class, kept, reason, and
repeat, its times in an epoch. Only what the earlier stage trained on is judged, and no label of any other part is read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from common.data import predictions
from common.data.spreadsheet import to_csv
from common.ensemble.clean_rules import by_accuracy, by_confident_learning, only_stable
from common.errors import PodiumError
from common.files import written
from common.run import folder
from common.run.components import load_module, make_data
from common.run.jobs import job_name, out_of_fold_path, reliable_list, stages_of
from common.run.members import read_folds
from common.run.predict_rows import write_predictions

KEPT_ROWS = 20_000  # images whose predictions are kept together: what a kill costs


def write_reliable(run: Path, config: dict[str, Any]) -> None:
    """Write the list that a stage trains on, if it has one, unless it is there.

    config: of a job of the stage; see `Stage` in common/config/schema.py.
    """
    clean = config["job"].get("clean")
    if clean is None or clean["list"] is None:
        return
    path = reliable_list(config, run)
    assert path is not None
    origin = clean["clean_from"]
    folds = stages_of(folder.load_config(run))[origin]["folds"]
    ends = [run / "jobs" / job_name(origin, fold) / "done" for fold in range(folds or 1)]
    if _is_newer(path, ends):
        return
    if clean["clean_by"] == "original":
        table = _named(run, _own_predictions(run, origin, ends))
        found = by_accuracy(table, config["seed"])
    else:
        table = _named(run, out_of_fold_path(run, origin))
        found = by_confident_learning(table)
    if clean["stable_classes"]:
        found = only_stable(found, Path(clean["stable_classes"]), clean["stable_score"])
    _write(path, found)
    left_out, share = int((~found["kept"]).sum()), 100 * float((~found["kept"]).mean())
    print(
        f"stage {config['job']['stage']}: cleaning by {origin} ({clean['clean_by']}) leaves out {left_out:,} of "
        f"{len(found):,} training images ({share:.1f} %); reasons in {path.with_suffix('.csv')}",
        flush=True,
    )


def judgements(path: Path) -> pd.DataFrame:
    """Of a table of predictions: id, label, predicted (int64), probability (of that), own (of the label), by id.

    Three numbers an image are all that cleaning needs, so 50,030 classes take no more memory than ten.
    """
    classes, exact = predictions.class_count(path), "own" in pq.read_schema(path).names
    pieces = []
    for frame, which, kept, others in predictions.kept_batches(path, ("id", "label", "own")):
        predicted, probability = predictions.most_probable(which, kept)
        at_label = which == frame["label"].to_numpy()[:, None]
        own = frame.pop("own").to_numpy() if "own" in frame else (kept * at_label).sum(axis=1)
        if others is not None and not exact:
            own = np.where(at_label.any(axis=1), own, others / (classes - predictions.KEPT))
        pieces.append(frame.assign(predicted=predicted, probability=probability, own=own))
    return pd.concat(pieces).sort_values("id", ignore_index=True)


def _own_predictions(run: Path, origin: str, ends: list[Path]) -> Path:
    """What a stage's model says of its own training images, as it was at the end of training.

    Not its best checkpoint: validation labels have chosen that. Killed, it goes on after the parts that are written.
    """
    path = run / "cleaning" / f"{origin}.parquet"
    if _is_newer(path, ends):
        return path
    job = run / "jobs" / job_name(origin, 0)
    config = folder.load_config(job)
    data = make_data(config, run)
    data.setup()
    assert data.table is not None
    rows = np.unique(data.rows("train"))
    rows = rows[~data.table["train_only"].to_numpy()[rows]]
    last = job / "last.ckpt"
    module = load_module(config, last if last.exists() else job / "best.ckpt")
    torch.set_num_threads(config["trainer"]["threads"] or torch.get_num_threads())
    print(
        f"stage {origin}: its model predicts its own {len(rows):,} training images, to clean them", flush=True
    )
    parts = []
    for number, start in enumerate(range(0, len(rows), KEPT_ROWS)):
        part = path.with_name(f".{origin}.{number}.parquet")
        parts.append(part)
        if not _is_newer(part, ends):
            several = slice(start, start + KEPT_ROWS)
            write_predictions(part, module, data, rows[several], config["trainer"]["accelerator"])
    predictions.join(path, parts)
    return path


def _named(run: Path, path: Path) -> pd.DataFrame:
    """Judgements with the names of the classes, by what the run says of its training images."""
    table = judgements(path)
    split = read_folds(run).set_index("id")
    strange = ~table["id"].isin(split.index[split["part"] == "train"])
    if strange.any():
        raise PodiumError(
            f"{path}: {table['id'][strange].iloc[0]} is no training image of {run / 'folds.csv'}"
        )
    table["class"] = split["class"].loc[table["id"]].to_numpy()
    name_of = table.drop_duplicates("label").set_index("label")["class"]
    return table.assign(
        predicted_class=table["predicted"].map(name_of).fillna("a class without training images")
    )


def _write(path: Path, found: pd.DataFrame) -> None:
    """Both forms; the Parquet last, whole or not at all: where it is, the list is complete."""
    to_csv(found, path.with_suffix(".csv"))
    with written(path) as partial:
        found.to_parquet(partial, index=False)


def _is_newer(path: Path, ends: list[Path]) -> bool:
    """Whether a file is there and was made after the jobs that it comes from."""
    return path.exists() and all(
        not end.exists() or path.stat().st_mtime_ns >= end.stat().st_mtime_ns for end in ends
    )
