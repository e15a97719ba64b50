"""A soup: one model whose weights are the mean of several models' (Wortsman et al. 2022, arXiv:2203.05482).

It costs what one model costs. It works among models that one training recipe, or one set of start weights, brought
close to each other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.callbacks.checkpoints import AtomicCheckpointIO
from common.data import predictions
from common.data.module import ImageData
from common.ensemble.candidates import Candidate
from common.errors import PodiumError
from common.model.checkpoint import load_checkpoint
from common.model.classifier import ImageClassifier
from common.run import folder, jobs
from common.run.components import device_of, load_module, make_data
from common.run.predict_rows import predict_rows

HOW = ("uniform", "greedy")
State = dict[str, Tensor]
# what the soup's checkpoint takes over from its first ingredient
KEPT = ("epoch", "global_step", "pytorch-lightning_version", "hyper_parameters", "hparams_name")


def cook(
    job: Path,
    ingredients: Sequence[Candidate],
    how: str,
    part: str,
    score: Callable[[np.ndarray, np.ndarray], float],
) -> list[Candidate]:
    """Write a job folder whose `best.ckpt` is the soup, with its predictions; returns what went into it.

    Args:
        job: folder to be made, below the run folder that holds `folds.csv`.
        ingredients: at least one.
        how: uniform takes all; greedy goes from the best to the worst alone and keeps what does not lower the score.
        part: by which greedy scores (choose or valid).
        score: (labels, probabilities) → larger is better.

    Raises PodiumError if the ingredients are not of one architecture.
    """
    checkpoints = [
        load_checkpoint(one.job / "best.ckpt", "state_dict", "hyper_parameters") for one in ingredients
    ]
    for one, checkpoint in zip(ingredients[1:], checkpoints[1:], strict=True):
        check_alike(checkpoints[0], checkpoint, f"{ingredients[0].name} and {one.name}")
    states = [checkpoint["state_dict"] for checkpoint in checkpoints]
    config = folder.load_config(ingredients[0].job)
    _take_lists(config, ingredients[0], job.parent.parent)
    data = make_data(config, job.parent.parent)
    data.setup()
    module = load_module(config, ingredients[0].job / "best.ckpt")
    module.to(device_of(config["trainer"]["accelerator"]))
    pot = _Pot(module, data, config, job)
    if how == "uniform":
        chosen = list(range(len(states)))
        pot.fill(states)
    else:
        alone = [score(*_labelled(one.predictions(part))) for one in ingredients]
        chosen = _greedy(pot, states, alone, part, score)
    folder.write_config(job, config)
    pot.serve({key: checkpoints[0][key] for key in KEPT if key in checkpoints[0]})
    return [ingredients[index] for index in chosen]


def _take_lists(config: dict[str, Any], ingredient: Candidate, run: Path) -> None:
    """Copy what earlier stages of an ingredient's run say of its training images to where the soup looks for it."""
    for place in (jobs.reliable_list, jobs.taught_table):
        theirs, ours = place(config, ingredient.run), place(config, run)
        if theirs is None or ours is None or theirs == ours:
            continue
        if not theirs.exists():
            raise PodiumError(f"soup: there is no {theirs}, which says what {ingredient.name} was trained on")
        ours.parent.mkdir(parents=True, exist_ok=True)
        folder.copy(theirs, ours)


def average(states: Sequence[State]) -> State:
    """The mean of weights of equal keys: floats averaged in float64, integers (counters) copied from the first."""
    found = {}
    for key, first in states[0].items():
        if first.is_floating_point():
            total = sum(
                (state[key].double() for state in states), torch.zeros_like(first, dtype=torch.float64)
            )
            found[key] = (total / len(states)).to(first.dtype)
        else:
            found[key] = first.clone()
    return found


def check_alike(one: dict[str, Any], other: dict[str, Any], names: str) -> None:
    """Raise PodiumError that names the first difference in weights, classes or preprocessing of two checkpoints."""
    state, weights = one["state_dict"], other["state_dict"]
    for key in [*state, *weights]:
        shapes = [tuple(held[key].shape) if key in held else "missing" for held in (state, weights)]
        if shapes[0] != shapes[1]:
            raise PodiumError(
                f"soup: {names} are not of one architecture: {key} is {shapes[0]} in one and {shapes[1]} in the "
                "other. Name runs of one model by RUN=, or blend without soup"
            )
    for key in ("class_names", "preprocessing", "mean", "std"):
        if one["hyper_parameters"].get(key) != other["hyper_parameters"].get(key):
            raise PodiumError(f"soup: {names} differ in {key}, so their weights have no meaningful mean")


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Compute BatchNorm's statistics anew, as the mean over batches of the module's input.

    The mean of several models' statistics is not that of the mean model. As torch's `update_bn`, but with all else
    in eval mode, so that no dropout and no other chance takes part.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean
        layer.train()
    for batch in batches:
        module(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def training_images(data: ImageData, seed: int) -> Iterator[Tensor]:
    """The training images without views, each once: batches float (B, C, H, W) in [0, 1] of about equal size.

    In random order: a table sorted by class would give batches of one class, of too little variance.
    """
    rows = np.random.default_rng(seed).permutation(data.rows("train"))
    for batch in np.array_split(rows, max(1, len(rows) // data.batch_size)):
        yield data.valid_images.__getitems__([(0, int(row)) for row in batch])["image"].float().div_(255)


class _Pot:
    """The one model that soups are tried in."""

    def __init__(self, module: ImageClassifier, data: ImageData, config: dict[str, Any], job: Path) -> None:
        self.module, self.data, self.config, self.job = module, data, config, job
        kept = [name for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
        self.statistics = [f"{name}.{kind}" for name in kept for kind in ("running_mean", "running_var")]

    def fill(self, states: Sequence[State]) -> None:
        """Load the mean of these weights. BatchNorm's statistics stay where all agree on them: frozen, or equal."""
        self.module.load_state_dict(average(states))
        held = [key for key in self.statistics if key in states[0]]
        if any(not torch.equal(states[0][key], state[key]) for key in held for state in states[1:]):
            images = training_images(self.data, self.config["seed"])
            recalibrate(self.module, (batch.to(self.module.device) for batch in images))

    def predict(self, part: str) -> Path:
        """Write the predictions of a part; returns their file."""
        assert self.data.table is not None
        rows = self.data.rows(part)
        table = self.data.table.iloc[rows]
        path = Candidate(self.job.parent.parent, self.job).predictions(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        pieces = predict_rows(self.module, self.data, rows, self.config["trainer"]["accelerator"])
        predictions.write(path, table["id"].tolist(), table["label"].to_numpy(), pieces)
        return path

    def serve(self, checkpoint: dict[str, Any]) -> None:
        """Write the checkpoint and the predictions of all parts that no ingredient was trained on."""
        state = {key: value.cpu() for key, value in self.module.state_dict().items()}
        AtomicCheckpointIO().save_checkpoint({**checkpoint, "state_dict": state}, self.job / "best.ckpt")
        folds = self.config.get("job", {}).get("folds")
        for part in ("choose", "score") if folds else ("valid", "choose", "score"):
            if len(self.data.rows(part)):
                self.predict(part)
        folder.write_text(self.job / "done", "")


def _greedy(
    pot: _Pot,
    states: Sequence[State],
    alone: Sequence[float],
    part: str,
    score: Callable[[np.ndarray, np.ndarray], float],
) -> list[int]:
    """Fill the pot; returns the indices of what is in it, the best model first."""
    order = sorted(range(len(states)), key=lambda index: -alone[index])
    chosen, best = order[:1], alone[order[0]]
    for index in order[1:]:
        pot.fill([states[other] for other in (*chosen, index)])
        reached = score(*_labelled(pot.predict(part)))
        if reached >= best:
            chosen, best = [*chosen, index], reached
    pot.fill([states[index] for index in chosen])
    return chosen


def _labelled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table, probabilities = predictions.read(path, exact=True)
    return table["label"].to_numpy(), probabilities
