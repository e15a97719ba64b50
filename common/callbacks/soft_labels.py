"""SoftLabels: train on what a teacher said, mixed with the true label."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from common.data.predictions import batches
from common.errors import PodiumError
from common.model.seams import Batch, Seams


class SoftLabels(pl.Callback):
    """The target becomes `hard_weight · one-hot + (1 − hard_weight) · teacher's probabilities`.

    An image without a row in the table gets its one-hot label, smoothed by `smoothing`.

    Args:
        path: Parquet with columns id, probabilities (K numbers each, summing to 1), such as a job's
            `predictions.parquet`, or several such tables. None: the run passes what the stage's `soft_labels_from`
            names.
        hard_weight: share of the true label, in [0, 1].
        temperature: the teacher's probabilities are raised to 1/temperature and renormalised; > 0.
        smoothing: label smoothing of images without a row, in [0, 1): 1 − s + s/K on the class, s/K elsewhere.
    """

    def __init__(
        self,
        path: str | list[str] | None = None,
        hard_weight: float = 0.6,
        temperature: float = 1.0,
        smoothing: float = 0.1,
    ) -> None:
        if not 0 <= hard_weight <= 1:
            raise PodiumError(f"callbacks.soft_labels.hard_weight must be in [0, 1], got {hard_weight}")
        if temperature <= 0:
            raise PodiumError(f"callbacks.soft_labels.temperature must be positive, got {temperature}")
        if not 0 <= smoothing < 1:
            raise PodiumError(f"callbacks.soft_labels.smoothing must be in [0, 1), got {smoothing}")
        self.paths = [] if path is None else [path] if isinstance(path, str) else list(path)
        for one in self.paths:
            if not Path(one).exists():
                raise PodiumError(f"callbacks.soft_labels.path: there is no file {one}")
        self.hard_weight = hard_weight
        self.temperature = temperature
        self.smoothing = smoothing
        self.teacher = torch.empty(0, 0)  # (N, K) by row of the records table
        self.known = torch.empty(0, dtype=torch.bool)  # (N,)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            table: pd.DataFrame = trainer.datamodule.table  # type: ignore[attr-defined]
            ids = table["id"]
            if "copy_of" in table:  # a copy is what its original is
                ids = table["copy_of"].where(table["copy_of"] != "", ids)
            self.read(ids.tolist(), len(trainer.datamodule.class_names))  # type: ignore[attr-defined]

    def read(self, ids: list[str], num_classes: int) -> None:
        """Load the teacher's rows for these images, of which some may be the same; `batch["index"]` counts in `ids`."""
        if not self.paths:
            raise PodiumError(
                "callbacks.soft_labels.path is null: name a table, or set a stage's soft_labels_from"
            )
        place = {image: row for row, image in enumerate(dict.fromkeys(ids))}
        teacher, known = np.zeros((len(place), num_classes), np.float32), np.zeros(len(place), bool)
        for path, (frame, rows) in ((table, piece) for table in self.paths for piece in batches(Path(table))):
            if rows.shape[1] != num_classes:
                raise PodiumError(
                    f"{path}: rows have {rows.shape[1]} probabilities, the data set has {num_classes} classes"
                )
            at = np.array([place.get(image, -1) for image in frame["id"]])
            sharpened = rows[at >= 0] ** np.float32(1 / self.temperature)
            teacher[at[at >= 0]] = sharpened / sharpened.sum(axis=1, keepdims=True)
            known[at[at >= 0]] = True
        if not known.any():
            raise PodiumError(
                f"{self.paths[0]}: none of its ids is among the {len(ids)} images of this data set"
            )
        rows_of = [place[image] for image in ids]
        self.teacher, self.known = torch.from_numpy(teacher[rows_of]), torch.tensor(known[rows_of])

    def wrap(self, seams: Seams) -> Seams:
        def target(batch: Batch) -> Tensor:
            index = batch["index"].cpu()
            device, classes = batch["label"].device, self.teacher.shape[1]
            hard = F.one_hot(seams.target(batch), classes).float()
            taught = self.hard_weight * hard + (1 - self.hard_weight) * self.teacher[index].to(device)
            smoothed = (1 - self.smoothing) * hard + self.smoothing / classes
            return torch.where(self.known[index].to(device)[:, None], taught, smoothed)

        return replace(seams, target=target)
