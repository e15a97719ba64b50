"""SoftLabels: train on what a teacher said, mixed with the true label."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from common.data.predictions import class_count, kept_batches
from common.errors import PodiumError
from common.model.step_hooks import Batch, StepHooks


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
        self.num_classes = 0  # K
        self.known = torch.empty(0, dtype=torch.bool)  # (N,) by row of the records table
        # what the tables hold of T images: with many classes, dense rows would take a thousand times as much
        self.row: np.ndarray = np.empty(0, np.int64)  # (N,) in them, -1 for none
        self.classes = np.empty((0, 0), np.uint8)  # (T, M)
        self.kept = np.empty((0, 0), np.float32)  # (T, M) the probabilities of these
        self.rest = np.empty(0, np.float32)  # (T,) that of each other class

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
        self.num_classes = num_classes
        wanted, row_of, count = set(ids), dict[str, int](), 0
        pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for path in self.paths:
            of_wide = class_count(Path(path))
            for frame, classes, kept, others in kept_batches(Path(path), ("id",)):
                classes_of_table = kept.shape[1] if others is None else of_wide
                if classes_of_table != num_classes:
                    raise PodiumError(
                        f"{path}: rows have {classes_of_table} probabilities, the data set has {num_classes} classes"
                    )
                mine = [row for row, image in enumerate(frame["id"]) if image in wanted]
                pieces.append(
                    self._sharpened(classes[mine], kept[mine], None if others is None else others[mine])
                )
                row_of |= zip(frame["id"].iloc[mine], range(count, count + len(mine)), strict=True)
                count += len(mine)
        if not row_of:
            raise PodiumError(
                f"{self.paths[0]}: none of its ids is among the {len(ids)} images of this data set"
            )
        self.row = np.fromiter((row_of.get(image, -1) for image in ids), np.int64, len(ids))
        self.known = torch.from_numpy(self.row >= 0)
        width = max(kept.shape[1] for _, kept, _ in pieces)  # tables may keep more or fewer classes
        self.classes, self.kept = (
            np.concatenate([_widened(piece[part], width, fill) for piece in pieces])
            for part, fill in ((0, num_classes), (1, 0))
        )
        self.rest = np.concatenate([rest for *_, rest in pieces])

    def _sharpened(
        self, classes: np.ndarray, kept: np.ndarray, others: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(classes (n, M), their probabilities (n, M), that of each other class (n,)) at this temperature."""
        outside = self.num_classes - kept.shape[1]
        rest = np.zeros(len(kept), np.float32) if others is None or not outside else others / outside
        kept, rest = (part.astype(np.float32) ** np.float32(1 / self.temperature) for part in (kept, rest))
        total = kept.sum(axis=1) + outside * rest
        return classes.astype(np.min_scalar_type(self.num_classes)), kept / total[:, None], rest / total

    def teacher(self, index: Tensor) -> Tensor:
        """What the teacher says of these images, by row of the records table: int64 (B,) → float32 (B, K).

        Of images that it does not know this means nothing.
        """
        rows, device = self.row[index.cpu().numpy()], index.device
        classes = torch.from_numpy(self.classes[rows].astype(np.int64)).to(device)
        kept, rest = (torch.from_numpy(part[rows]).to(device) for part in (self.kept, self.rest))
        dense = rest[:, None].repeat(
            1, self.num_classes + 1
        )  # the last column takes what stands for no class
        return dense.scatter_(1, classes, kept)[:, :-1]

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def target(batch: Batch) -> Tensor:
            index, device = batch["index"], batch["label"].device
            hard = F.one_hot(hooks.target(batch), self.num_classes).float()
            taught = self.hard_weight * hard + (1 - self.hard_weight) * self.teacher(index).to(device)
            smoothed = (1 - self.smoothing) * hard + self.smoothing / self.num_classes
            return torch.where(self.known[index.cpu()].to(device)[:, None], taught, smoothed)

        return replace(hooks, target=target)


def _widened(rows: np.ndarray, width: int, fill: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=fill)
