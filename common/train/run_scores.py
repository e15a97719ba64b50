"""The scores of a whole run: of each stage, of its folds together, and of its models' mean on the held-out parts."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.data import predictions
from common.ensemble.out_of_fold import fold_scores
from common.run import folder
from common.run.components import load_module
from common.run.folder import predictions_path
from common.run.jobs import Job, out_of_fold_path
from common.run.members import combine
from common.run.predict_rows import score_table, scores_of_part

HELD_OUT = ("choose", "score")


def write_scores(run: Path, waves: list[list[Job]]) -> None:
    """Write `scores.json` and `scores.csv`.

    Their `valid_*` are those of the last stage: of its only job, or of its out-of-fold predictions as one table.
    `choose_*` and `score_*`, where there are such parts, are of the mean of its models. `stages` holds all of them
    for each stage, and `folds` each metric's mean ± sd over folds.
    """
    found = {wave[0].stage: _of_stage(run, wave) for wave in waves}
    scores = found[waves[-1][0].stage]
    if len(found) > 1:
        named = {
            name: {key: value for key, value in stage.items() if key != "per_class"}
            for name, stage in found.items()
        }
        scores = scores | {"stages": named}
    folder.write_json(run / "scores.json", scores)
    flat = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    folder.write_text(run / "scores.csv", ",".join(flat) + "\n" + ",".join(map(str, flat.values())) + "\n")


def _of_stage(run: Path, wave: list[Job]) -> dict[str, Any]:
    jobs = [run / "jobs" / job.name for job in wave]
    of_jobs = [folder.load_json(job / "scores.json") for job in jobs]
    if wave[0].config["job"]["fold"] is None:
        return of_jobs[0]
    module = load_module(folder.load_config(jobs[0]), jobs[0] / "best.ckpt")
    table = score_table(out_of_fold_path(run, wave[0].stage), module, module.class_names)
    scores = scores_of_part("valid", table) | {"folds": fold_scores(of_jobs)}
    scores |= {key: of_jobs[0][key] for key in ("held_out_corrected",) if key in of_jobs[0]}
    for part in HELD_OUT:
        files = [predictions_path(job, part) for job in jobs]
        if all(file.exists() for file in files):
            joined = run / "out_of_fold" / f"{wave[0].stage}_{part}.parquet"
            _write_mean(joined, files)
            scores |= scores_of_part(part, score_table(joined, module, module.class_names))
            singles = [job[f"{part}_top1"] for job in of_jobs]
            scores[f"{part}_top1_single"] = float(np.mean(singles))
    return scores


def _write_mean(path: Path, files: list[Path]) -> None:
    """The mean of several models' predictions of the same pictures: of those that were there for all of them."""
    tables = [predictions.read_top(file)[["id", "label"]] for file in files]
    common = set.intersection(*(set(table["id"]) for table in tables))
    known = tables[0][tables[0]["id"].isin(common)]
    together = zip(*(_rows(file, common) for file in files), strict=True)  # pictures of all are in one order

    def means() -> Iterator[np.ndarray]:
        if not len(known):
            yield np.empty((0, predictions.class_count(files[0])), np.float32)
        while some := list(islice(together, predictions.ROWS)):
            yield combine(np.stack([np.stack(rows) for rows in zip(*some, strict=True)]), "arithmetic")

    predictions.write(path, known["id"].tolist(), known["label"].to_numpy(), means())


def _rows(file: Path, ids: set[str]) -> Iterator[np.ndarray]:
    for frame, rows in predictions.batches(file, exact=True):
        yield from rows[frame["id"].isin(ids)]
