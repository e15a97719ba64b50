"""Predictions of a part of the data, and the scores computed from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common.run.scores import class_table, log_loss, topk_accuracy


def write(path: Path, ids: list[str], labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Parquet: id, label int64, probabilities (K float32 each), in the given order; whole or not at all."""
    flat = pa.array(probabilities.astype(np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1])
    table = pa.table({"id": ids, "label": labels.astype(np.int64), "probabilities": lists})
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, partial)
    partial.replace(path)


def read(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """(columns id, label; probabilities float32 (N, K))."""
    table = pq.read_table(path)
    frame = table.select(["id", "label"]).to_pandas()
    probabilities = np.stack(table["probabilities"].to_pandas().to_list()).astype(np.float32)
    return frame, probabilities


def score(labels: np.ndarray, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """top1, top5 (shares in [0, 1]), loss (nats), images, and precision, recall, support per class."""
    scores: dict[str, Any] = {"top1": topk_accuracy(probabilities, labels, 1)}
    if len(class_names) >= 5:
        scores["top5"] = topk_accuracy(probabilities, labels, 5)
    scores["loss"] = log_loss(probabilities, labels)
    scores["images"] = len(labels)
    table = class_table(labels, probabilities.argmax(axis=1), class_names)
    scores["per_class"] = table.astype(object).where(table.notna(), None).to_dict("records")
    return scores
