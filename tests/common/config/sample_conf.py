"""A small configuration folder before Podium's own: these tests hold whatever that contains."""

from pathlib import Path
from textwrap import dedent

from omegaconf import DictConfig

from common.config.compose import compose

FILES = {
    "train": """
        defaults:
          - schema
          - model: small
          - loss: cross_entropy
          - optimizer: adam
          - schedule: cosine
          - views: none
          - trainer: auto
          - _self_
        data: {_target_: paper.parts.Data}
        module: {_target_: paper.parts.Module}
        trainer: {max_epochs: 20}
        callbacks: {ohem: null, freeze: null}
        logger: {tensorboard: null}
    """,
    "model/small": "{_target_: paper.parts.Net, width: 8}",
    "model/large": """
        defaults: [small, _self_]
        width: 64
    """,
    "loss/cross_entropy": "{_target_: paper.parts.CrossEntropy, smoothing: 0.0}",
    "loss/focal": "{_target_: paper.parts.Focal, gamma: 2.0}",
    "optimizer/adam": "{_target_: paper.parts.Adam, lr: 0.001}",
    "schedule/cosine": "{_target_: paper.parts.Cosine, warmup: 0}",
    "views/none": "{image: [], batch: {}}",
    "views/flips": """
        image: [{_target_: paper.parts.Flip, p: 0.5}]
        batch: {mixup: {alpha: 0.4}, noise: null}
    """,
    "views/batch/mixup": "{_target_: paper.parts.Mixup, alpha: 0.2, share: 1.0}",
    "views/batch/noise": "{_target_: paper.parts.Noise, sigma: 0.1}",
    "trainer/auto": "{accelerator: auto}",
    "trainer/cpu": "{accelerator: cpu, devices: 1}",
    "trainer/quick": "{accelerator: cpu, max_epochs: 1}",
    "callbacks/ohem": "{_target_: paper.parts.OHEM, keep: 0.7, start: 5}",
    "callbacks/freeze": "{_target_: paper.parts.Freeze, until: 1}",
    "logger/tensorboard": "{_target_: paper.parts.Board}",
    "competition/brush": """
        data: {_target_: paper.parts.BrushData, size: [32, 32]}
        loss: {smoothing: 0.1}
    """,
    "competition/shop": """
        defaults:
          - override /loss: focal
        loss: {gamma: 3.0}
        trainer: {max_steps: 100}
    """,
}


class Conf:
    """A configuration folder under test: write files to it, compose from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return file

    def compose(self, *overrides: str) -> DictConfig:
        words = list(overrides)
        if not any(word.startswith("competition=") for word in words):
            words.insert(0, "competition=brush")
        return compose(words, [self.folder])
