"""What is measured in validation, exact under DDP."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from common.task.measures import Answers, Measure
from common.task.task import Task

COLUMNS = [field.name for field in fields(Answers)]


class ValidationMetrics(Metric):
    """`valid_<name>` of each measure over a whole pass, each image counted once; NaN without pictures.

    The measures are those that tables are scored by. It keeps Answers, 36 bytes an image, and the probabilities only
    where a measure takes all of them.

    torchmetrics' own are not these: `MulticlassAccuracy` counts ties for the model and makes B · K one-hot labels of
    top-k (400 kB an image at 50,030 classes), `MulticlassAveragePrecision` ranks all pictures by each class, and GAP
    is not among them.

    Args:
        task: makes Answers of a batch.
        measures: of the task and of the competition.
    """

    full_state_update = False

    def __init__(self, task: Task, measures: Sequence[Measure]) -> None:
        super().__init__()
        self.task = task
        self.measures = list(measures)
        self.names = [f"valid_{measure.name}" for measure in measures]
        self.keeps_rows = any(measure.of_answers is None for measure in measures)
        for name in (*COLUMNS, *(["probabilities"] if self.keeps_rows else [])):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K), rows sum to 1; labels: int64 (B,)."""
        for name, column in zip(COLUMNS, self.task.answers(probabilities, labels), strict=True):
            getattr(self, name).append(column)
        if self.keeps_rows:
            self.probabilities.append(probabilities)  # type: ignore[operator, union-attr]

    def compute(self) -> dict[str, Tensor]:
        """Metric name → scalar."""
        values = [torch.nan] * len(self.names)
        if len(self._whole("label")):
            answers = Answers(*(self._whole(name) for name in COLUMNS))
            rows: Any = self._whole("probabilities") if self.keeps_rows else None
            values = [
                measure.of(answers.label, rows) if measure.of_answers is None else measure.of_answers(answers)
                for measure in self.measures
            ]
        return {
            name: torch.tensor(float(value), device=self.device)
            for name, value in zip(self.names, values, strict=True)
        }

    def _whole(self, name: str) -> Any:
        state = getattr(self, name)
        return dim_zero_cat(state).cpu().numpy() if len(state) else np.empty(0)
