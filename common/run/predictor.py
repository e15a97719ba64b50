"""The models of a run as one: pictures in, the mean of their probabilities out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import trust
from common.callbacks.tta import TTA
from common.data.reading.images import ImageError
from common.data.reading.reader import predicted
from common.errors import PodiumError, reading
from common.model.classifier import ImageClassifier
from common.run import folder
from common.run.components import check_received, device_of, load_module
from common.run.members import Member, combine, read_members


class Ensemble:
    """Several models, on their devices, ready to predict as one.

    Args:
        mean: arithmetic or geometric.
        members: the models.
        tta: predict by each member's test-time augmentation, where it has one.

    Raises PodiumError if a member is gone, or if members know different classes.
    """

    def __init__(self, mean: str, members: list[Member], tta: bool = True) -> None:
        self.mean = mean
        self.modules: list[ImageClassifier] = []
        self.members: list[dict[str, Any]] = []  # as evaluations record them
        for member in members:
            config = folder.load_config(member.job)
            check_received(config, member.job / "config.yaml")
            with reading(member.job / "config.yaml"):
                self.members.append(_described(member, config, tta))
            if not tta:
                config = {**config, "callbacks": {**config["callbacks"], "tta": None}}
            module = load_module(config, member.path).to(device_of(config["trainer"]["accelerator"]))
            _check_predicts(module, member.path)
            self.modules.append(module)
        self.class_names = self.modules[0].class_names
        for member, module in zip(members, self.modules, strict=True):
            if module.class_names != self.class_names:
                raise PodiumError(
                    f"{member.job} and {members[0].job} know different classes: their predictions have no mean"
                )
        self.preprocessings: list[dict[str, Any]] = []  # each way to prepare a picture, once
        for module in self.modules:
            if module.preprocessing not in self.preprocessings:
                self.preprocessings.append(module.preprocessing)

    @classmethod
    def of_run(cls, run: Path, checkpoint: str | None = None, tta: bool = True) -> "Ensemble":
        """The models that a run folder names; `checkpoint` is taken from each job instead of the one named."""
        trust.check(folder.load_config(run), run / "config.yaml")
        return cls(*read_members(run, checkpoint), tta=tta)

    @property
    def how(self) -> str:
        """In words: how many models, which checkpoint, how many views."""
        count = len(self.members)
        models = "one model" if count == 1 else f"{self.mean} mean of {count} models"
        return ", ".join(
            [models, *dict.fromkeys(f"{one['checkpoint']}, {_views(one)}" for one in self.members)]
        )

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Fitted pictures, uint8 (N, H, W, C) for each of `preprocessings` → class probabilities, float32 (N, K)."""
        tensors = [
            torch.from_numpy(np.ascontiguousarray(kind.transpose(0, 3, 1, 2)))  # (N, C, H, W)
            for kind in images
        ]
        with torch.inference_mode():
            each = [
                module.step_hooks.predict(
                    tensors[self.preprocessings.index(module.preprocessing)]
                    .to(module.device)
                    .float()
                    .div_(255)
                )
                .float()
                .cpu()
                .numpy()
                for module in self.modules
            ]
        return combine(np.stack(each), self.mean)

    def predict(
        self,
        ids: list[str],
        paths: list[Path],
        batch_size: int,
        bad: list[ImageError],
        most_pixels: int | None = None,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(id, probabilities float32 (K,)) of each picture that can be read, in order; errors go to `bad`."""
        rows = predicted(paths, self.preprocessings, self.probabilities, batch_size, bad, most_pixels)
        for position, row in rows:
            if not np.isfinite(row).all():
                raise PodiumError(
                    f"{paths[position]}: the model says what is no number; its training has diverged: {self.how}"
                )
            yield ids[position], row


def _check_predicts(module: ImageClassifier, checkpoint: Path) -> None:
    """Raise PodiumError where a model cannot take a picture of the size that its checkpoint names, or says too little.

    Of a file that somebody changed, what it says of the network need not fit the network.
    """
    size, channels = module.preprocessing["size"], module.preprocessing["channels"]
    with reading(checkpoint), torch.inference_mode():
        said = module.step_hooks.predict(torch.zeros(1, channels, *size, device=module.device))
        if tuple(said.shape) != (1, len(module.class_names)):
            raise PodiumError(
                f"the network tells {said.shape[-1]} classes apart, {len(module.class_names)} are named"
            )


def _described(member: Member, config: dict[str, Any], tta: bool) -> dict[str, Any]:
    """tta: names of the views, [] where the recipe has none, None where they are switched off; passes: their cost."""
    part = config["callbacks"].get("tta")
    views = TTA(part["views"]) if part else None
    used = views if tta else None
    return {
        "job": str(member.job),
        "checkpoint": member.checkpoint,
        "tta": None if views and not tta else used.names if used else [],
        "passes": round(used.cost, 2) if used else 1.0,
    }


def _views(member: dict[str, Any]) -> str:
    views, passes = member["tta"], member["passes"]
    if views is None:
        return "one view, TTA off"
    cost = "" if passes == max(1, len(views)) else f" at the cost of {passes:g}"
    return f"mean of {len(views)} views{cost}" if views else "one view"
