"""What a job's checkpoints say of pictures that it did not train on, and what that scores."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.activity import counted
from common.data import predictions
from common.data.module import ImageData
from common.data.reading.images import ImageError
from common.data.records import leave_out
from common.errors import PodiumError
from common.model.checkpoint import load_checkpoint
from common.model.classifier import ImageClassifier
from common.run import folder as folders
from common.run.components import device_of, load_module
from common.run.members import best_paths
from common.task.scores import score_file


def score_checkpoints(config: dict[str, Any], job: Path, data: ImageData) -> None:
    """Predict what no training picture is in, from each best checkpoint loaded afresh, and write what it scores."""
    scores: dict[str, Any] = {}
    further: dict[str, Any] = {}
    if config["trainer"]["fast_dev_run"]:  # a score that nobody reads is not worth the time of further views
        config = {**config, "callbacks": {**config["callbacks"], "tta": None}}
    for metric, path in best_paths(config, job).items():
        if not path.exists():
            continue
        module = load_module(config, path)
        epoch = load_checkpoint(path, "epoch")["epoch"] + 1
        found = {"chosen_by": metric, "epoch": epoch}
        for part in ("valid", "choose", "score"):
            rows = data.rows(part)
            if not len(rows):
                continue
            file = (
                folders.predictions_path(job, part) if path.name == "best.ckpt" else job / ".further.parquet"
            )
            left_out = write_predictions(file, module, data, rows, config["trainer"]["accelerator"])
            of_part = score_table(file, module, data.class_names) | module.level_metrics.take()
            if path.name == "best.ckpt":
                scores |= scores_of_part(part, of_part)
                if part == "valid" and data.fold is not None:
                    scores |= {"in_folds": data.in_folds, "left_out": left_out}
            elif part == "valid":
                found |= of_part
        if path.name == "best.ckpt":
            scores |= {"chosen_by": metric, "epoch": epoch}
        else:
            further[path.name] = found
    (job / ".further.parquet").unlink(missing_ok=True)
    if data.held_out_corrected is not None:
        scores["held_out_corrected"] = data.held_out_corrected
    folders.write_json(job / "scores.json", {**scores, "checkpoints": further})


def score_table(file: Path, module: ImageClassifier, class_names: list[str]) -> dict[str, Any]:
    """What predictions score: what all competitions measure, and what this one's module adds."""
    found = score_file(file, class_names) | module.extra_scores(predictions.read_top(file))
    asked = (module.measure(name.removeprefix("valid_")) for name in module.directions)
    own = [one for one in asked if one is not None and one.name not in found]
    if own and found["images"]:
        table, rows = predictions.read(file, exact=True)
        labels = table["label"].to_numpy()
        found |= {one.name: float(one.of(labels, rows)) for one in own}
    return found


def scores_of_part(part: str, scores: dict[str, Any]) -> dict[str, Any]:
    """Scores under names that tell the part: valid_top1, score_top1, …; images and per_class are those of valid."""
    named = {f"{part}_{key}": value for key, value in scores.items() if key != "per_class"}
    if part == "valid":
        named |= {"images": named.pop("valid_images"), "per_class": scores["per_class"]}
    return named


def write_predictions(
    path: Path, module: ImageClassifier, data: ImageData, rows: np.ndarray, accelerator: str
) -> int:
    """Write what a module says of these rows of the data, in their order.

    Pictures that can be read no more are left out, see `leave_out`; returns how many. Raises PodiumError where these
    are more than `data.max_bad_share`.
    """
    assert data.table is not None
    names, labels = data.table["id"].tolist(), data.table["label"].tolist()
    ids: list[str] = []
    known: list[int] = []
    bad: dict[int, ImageError] = {}

    def pieces() -> Iterator[np.ndarray]:
        read = (row for row in rows.tolist() if row not in bad)  # each asked for once it has been tried
        for piece in predict_rows(module, data, rows, accelerator, bad):
            if len(bad) > data.max_bad_share * len(rows) or len(bad) == len(rows):
                raise PodiumError(
                    f"{len(bad)} of {len(rows)} pictures can be read no more, the first is {next(iter(bad.values()))}; "
                    f"that is more than data.max_bad_share={data.max_bad_share}: bring them back, and give the same "
                    "command again"
                )
            some = list(islice(read, len(piece)))
            ids.extend(names[row] for row in some)
            known.extend(labels[row] for row in some)
            yield piece

    predictions.write(path, ids, known, pieces())
    leave_out(list(bad.values()), data.folder)
    return len(bad)


def predict_rows(
    module: ImageClassifier,
    data: ImageData,
    rows: np.ndarray,
    accelerator: str,
    bad: dict[int, ImageError] | None = None,
) -> Iterator[np.ndarray]:
    """Probabilities of these rows of the data, in their order: pieces of float32 (N, K).

    bad: takes the rows whose picture cannot be read, which are left out. Raises ImageError for the first without.
    """
    device = device_of(accelerator)
    module.to(device)
    together = data.together()
    for start in counted(range(0, len(rows), together), "predicting", len(rows), each=together):
        batch = _read(data, rows[start : start + together].tolist(), bad)
        if batch is None:
            yield np.empty((0, len(module.class_names)), np.float32)
            continue
        with torch.inference_mode():
            images, labels = batch["image"].to(device).float().div_(255), batch["label"].to(device)
            yield module.predict_scored(images, labels).float().cpu().numpy()


def _read(
    data: ImageData, rows: list[int], bad: dict[int, ImageError] | None
) -> dict[str, torch.Tensor] | None:
    """The batch of those rows that can be read; None if none can."""

    def batch(some: list[int]) -> dict[str, torch.Tensor]:
        return data.valid_images.__getitems__([(0, row) for row in some])

    try:
        return batch(rows)
    except ImageError:
        if bad is None:
            raise
    good = []
    for row in rows:
        try:
            batch([row])
            good.append(row)
        except ImageError as error:
            bad[row] = error
    return batch(good) if good else None
