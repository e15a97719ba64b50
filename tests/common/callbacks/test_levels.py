"""Levels of a class tree in training and prediction: weights, what is logged, what the ancestors' word is worth."""

import pandas as pd
import pytest
import torch

from common.callbacks.combine_levels import CombineLevels
from common.callbacks.hierarchical_loss import HierarchicalLoss
from common.callbacks.ohem import OHEM
from common.callbacks.tta import TTA, Inverted, Raw
from common.data.folder import FolderData
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.run import components, folder
from common.task.hierarchy import combine_levels
from common.train.train import train
from tests import toys
from tests.toys import random_images

PARENTS = [0, 0, 1, 1]


class TreeData(FolderData):
    """The toy's four classes, below two."""

    def records(self):
        self.levels = {"group": PARENTS}
        return super().records()


def classifier(levels=None, outputs=("label", "group")) -> ImageClassifier:
    return toys.classifier("tests.toys.TwoLevels", 6, levels={"group": PARENTS} if levels is None else levels)


class At:
    """A trainer that has come so far."""

    def __init__(self, share: float) -> None:
        self.lightning_module = self
        self.progress = lambda: (share, 0.0)


def losses(callback, module, share=0.0):
    callback.setup(At(share), module, "fit")
    module.compose([callback])
    with torch.no_grad():
        return module.step_hooks.loss(module(random_images(3)), torch.tensor([0, 2, 3]))


def test_parents_are_the_modules_unless_they_are_given():
    own, given = HierarchicalLoss(), HierarchicalLoss({"group": PARENTS})
    assert torch.equal(losses(own, classifier()), losses(given, classifier(levels={})))


def test_a_weight_changes_linearly_from_first_to_last():
    only = [
        losses(HierarchicalLoss(weights={"leaf": a, "group": b}), classifier()) for a, b in ((1, 0), (0, 1))
    ]
    scheduled = HierarchicalLoss(weights={"leaf": [0.2, 1.0], "group": [2.0, 0.0]})
    for share, leaf, group in ((0.0, 0.2, 2.0), (0.25, 0.4, 1.5), (1.0, 1.0, 0.0)):
        expected = leaf * only[0] + group * only[1]
        torch.testing.assert_close(losses(scheduled, classifier(), share), expected)


def test_each_levels_mean_loss_is_counted_and_survives_a_checkpoint(tmp_path):
    callback = HierarchicalLoss(weights={"leaf": 0.5, "group": 2.0})
    parts = [
        losses(HierarchicalLoss(weights={"leaf": a, "group": b}), classifier()) for a, b in ((1, 0), (0, 1))
    ]
    losses(callback, classifier())
    torch.save(callback.state_dict(), tmp_path / "state")
    again = HierarchicalLoss()
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    losses(again, classifier())
    assert again.steps == 2 and again.names == ["label", "group"]
    for total, part in zip(again.sums, parts, strict=True):
        assert float(total / 2) == pytest.approx(float(part.mean()))


def test_a_leaf_of_no_probability_stays_so_whatever_its_ancestors_are():
    """0 · x = 0: the ancestors of the first leaf are all but impossible, and yet it is the only one there is."""
    leaves = torch.tensor([[1.0, 0.0, 0.0]])
    above = {"group": torch.tensor([[-100.0, 0.0]])}
    found = combine_levels(leaves, above, {"group": torch.tensor([0, 1, 1])}, {"group": 1.0})
    assert found.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("views", [None, {"raw": Raw(), "inverted": Inverted()}])
@pytest.mark.parametrize("first", [True, False])
def test_views_are_combined_each_by_itself_whatever_the_order(views, first):
    module, images = classifier(), random_images(3)
    callbacks = [CombineLevels({"group": 0.5}), *([TTA(views)] if views else [])]
    module.compose(callbacks if first else callbacks[::-1])
    expected = []
    for view in views.values() if views else [Raw()]:
        outputs = module(view(images))
        expected.append(combine_levels(outputs["label"].softmax(1), outputs, module.parents, {"group": 0.5}))
    torch.testing.assert_close(module.predict_step({"image": images}, 0), torch.stack(expected).mean(0))


@pytest.mark.parametrize(
    ("make", "levels", "message"),
    [
        (lambda: HierarchicalLoss(), {}, "the data set has no class tree"),
        (
            lambda: HierarchicalLoss(weights={"grup": 1.0}),
            None,
            r"unknown level grup \(did you mean group\?\)",
        ),
        (
            lambda: HierarchicalLoss(weights={"group": -1.0}),
            None,
            "weights.group must be a number ≥ 0",
        ),
        (lambda: HierarchicalLoss(weights={"group": [1.0]}), None, r"or \[first, last\]; got \[1.0\]"),
        (lambda: HierarchicalLoss({"group": [0, 0, 2, 2]}), {}, r"parents.group: classes \[1\] have no leaf"),
        (lambda: CombineLevels({"grup": 1.0}), None, "there is no level grup"),
        (lambda: CombineLevels(-1.0), None, "callbacks.combine_levels.power must be at least 0"),
    ],
)
def test_what_does_not_fit_the_tree_is_named(make, levels, message):
    with pytest.raises(PodiumError, match=message):
        classifier(levels=levels).compose([make()])


def test_a_tree_that_is_none_is_refused_with_the_module():
    with pytest.raises(PodiumError, match=r"levels\.group must be int64"):
        classifier(levels={"group": [0, 1]})


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    config = toy_module(
        "model=timm_levels", "model.name=test_resnet", "model.branch_from={group: layer4}", "trainer.max_epochs=12",
        "views.batch.affine=null", "optimizer.lr=0.005",
        "callbacks.hierarchical_loss.weights={group: [1.0, 0.5]}", "callbacks.combine_levels={}",
        "callbacks.ohem.keep=0.9", "best={valid_top1: max, valid_group_head_top1: max}",
    )  # fmt: skip
    config["data"]["_target_"] = f"{__name__}.TreeData"
    return train({**config, "run_dir": str(tmp_path_factory.mktemp("runs") / "tree")})


def test_two_levels_are_learnt_and_both_are_better_than_chance(run):
    scores = folder.load_json(run / "jobs" / "train_fold0" / "scores.json")
    assert scores["valid_top1"] > 0.5 and scores["valid_group_head_top1"] > 0.75
    assert scores["valid_group_consistency"] > 0.75


def test_each_levels_loss_and_agreement_are_in_the_curves_and_in_the_scores(run):
    history = pd.read_csv(run / "jobs" / "train_fold0" / "history.csv").set_index("epoch")
    assert (history["train_loss_leaf"] > 0).all() and (history["train_loss_group"] > 0).all()
    scores = folder.load_json(run / "jobs" / "train_fold0" / "scores.json")
    for name in ("valid_top1", "valid_group_head_top1", "valid_group_consistency"):
        assert scores[name] == pytest.approx(history.loc[scores["epoch"], name])


def test_the_checkpoint_alone_makes_the_network_with_its_levels_again(run):
    path = run / "jobs" / "train_fold0"
    module = components.load_module(folder.load_config(path), path / "best.ckpt")
    assert module.hparams["levels"] == {"group": PARENTS}
    assert list(module(torch.rand(2, 1, 16, 16))) == ["leaf", "group"]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("head", ["LinearHead", "CosineHead"])
def test_heads_that_defer_their_logits_train_alike_at_every_level(head, soft):
    """With a margin where the head has cosines, and with OHEM: the same loss and gradients as with logits at once."""
    losses = {"LinearHead": "losses.CrossEntropy", "CosineHead": "margins.ArcFace"}
    target = torch.tensor([0, 2, 3, 1])
    found = []
    for chunk in (None, 3):
        part = {"_target_": f"common.model.networks.heads.{head}", "chunk": chunk}
        module = toys.classifier(
            {
                "_target_": "common.model.networks.level_heads.level_model",
                "name": "test_resnet",
                "levels": None,
                "head": part,
            },
            size=32,
            loss={"_target_": f"common.model.{losses[head]}"}
            | ({"scale": 32.0} if head == "CosineHead" else {}),
            levels={"group": PARENTS},
        )
        module.compose([HierarchicalLoss(weights={"group": 0.5}), OHEM(keep=0.5)])
        wanted = torch.nn.functional.one_hot(target, 4) * 0.8 + 0.05 if soft else target
        batch = {"image": random_images(4, size=32), "label": target}
        loss = module.step_hooks.reduce(module.step_hooks.loss(module(batch["image"]), wanted))
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in module.net.parameters())])
    for at_once, deferred in zip(*found, strict=True):
        torch.testing.assert_close(at_once, deferred, rtol=1e-3, atol=1e-5)
