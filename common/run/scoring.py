"""What a job's checkpoints say of pictures that it did not train on, and what that scores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.activity import counted
from common.data import predictions
from common.data.module import ImageData
from common.model.checkpoint import load_checkpoint
from common.model.classifier import ImageClassifier
from common.run import folder as folders
from common.run.fit import best_paths
from common.run.parts import device_of, load_module
from common.run.scores import score_file


def score_checkpoints(config: dict[str, Any], job: Path, data: ImageData) -> None:
    """Predict what no training picture is in, from each best checkpoint loaded afresh, and write what it scores."""
    assert data.table is not None
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
            table = data.table.iloc[rows]
            labels = table["label"].to_numpy()
            file = (
                folders.predictions_path(job, part) if path.name == "best.ckpt" else job / ".further.parquet"
            )
            pieces = predict_rows(module, data, rows, config["trainer"]["accelerator"])
            predictions.write(file, table["id"].tolist(), labels, pieces)
            of_part = score_table(file, module, data.class_names) | module.level_metrics.take()
            if path.name == "best.ckpt":
                scores |= scores_of_part(part, of_part)
            elif part == "valid":
                found |= of_part
        if path.name == "best.ckpt":
            scores |= {"chosen_by": metric, "epoch": epoch}
        else:
            further[path.name] = found
    (job / ".further.parquet").unlink(missing_ok=True)
    if data.held_out_corrected is not None:
        scores["held_out_corrected"] = data.held_out_corrected
    if data.fold is not None:
        scores["in_folds"] = data.in_folds
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


def predict_rows(
    module: ImageClassifier, data: ImageData, rows: np.ndarray, accelerator: str
) -> Iterator[np.ndarray]:
    """Probabilities of these rows of the data, in their order: pieces of float32 (N, K)."""
    device = device_of(accelerator)
    module.to(device)
    together = data.together()
    for start in counted(range(0, len(rows), together), "predicting", len(rows), each=together):
        items = [(0, int(row)) for row in rows[start : start + together]]
        with torch.inference_mode():
            batch = data.valid_images.__getitems__(items)
            images, labels = batch["image"].to(device).float().div_(255), batch["label"].to(device)
            yield module.predict_scored(images, labels).float().cpu().numpy()
