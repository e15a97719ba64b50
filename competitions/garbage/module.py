"""The module of garbage: Podium's classifier, also measured by the bin that a picture's class belongs to."""

from typing import Any

import pandas as pd
import torch

from common.model.classifier import ImageClassifier
from competitions.garbage.labels import groups
from competitions.garbage.losses import BinaryOnSoftmax, binary_accuracy


class GarbageModule(ImageClassifier):
    """Household waste by `group/item`.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """`group_top1`: the predicted class is of the right group. With the baseline's loss, `binary_accuracy` too."""
        group, names = groups(self.class_names)
        predicted, true = (table[column].map(dict(enumerate(group))) for column in ("predicted", "label"))
        scores: dict[str, Any] = {"group_top1": float((predicted == true).mean())} if len(names) > 1 else {}
        if isinstance(self.loss_fn, BinaryOnSoftmax):
            right = torch.tensor((table["label"] == table["predicted"]).to_numpy())
            probability = torch.tensor(table["probability"].to_numpy())
            scores["binary_accuracy"] = binary_accuracy(right, probability, len(group))
        return super().extra_scores(table) | scores
