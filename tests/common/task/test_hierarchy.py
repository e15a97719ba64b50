import pytest
import torch

from common.errors import PodiumError
from common.model.losses import CrossEntropy, Focal, KLDivergence
from common.task.hierarchy import check_parents, combine_levels, hierarchical_loss, target_at_level

PARENTS = {"genus": torch.tensor([0, 0, 1, 2, 1]), "family": torch.tensor([0, 0, 1, 1, 1])}
WEIGHTS = {"species": 1.0, "genus": 0.5, "family": 0.25}
LABELS = torch.tensor([4, 0, 3])


def some_outputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"species": 5, "genus": 3, "family": 2}
    return {level: torch.randn(3, size, generator=generator) for level, size in sizes.items()}


@pytest.mark.parametrize(
    "loss", [CrossEntropy(0.1), Focal(), KLDivergence()], ids=lambda loss: type(loss).__name__
)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_loss_is_the_weighted_sum_over_levels_sample_by_sample(loss, soft):
    outputs = some_outputs()
    target = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)).softmax(-1) if soft else LABELS
    losses = hierarchical_loss(outputs, target, PARENTS, WEIGHTS, loss)
    for n in range(3):
        total = 0.0
        for level, logits in outputs.items():
            parent = PARENTS.get(level, torch.arange(5)).tolist()
            own = target[n : n + 1]
            if soft:
                expected = [
                    sum(own[0, leaf].item() for leaf in range(5) if parent[leaf] == k)
                    for k in range(logits.shape[1])
                ]
                own = torch.tensor([expected])
            else:
                own = torch.tensor([parent[int(own)]])
            value = loss(logits[n : n + 1], own).item()
            assert losses[level][n].item() == pytest.approx(value, rel=1e-5)
            total += WEIGHTS[level] * value
        assert losses["loss"][n].item() == pytest.approx(total, rel=1e-5)


def test_level_without_weight_is_reported_but_not_trained():
    outputs = {level: logits.requires_grad_() for level, logits in some_outputs().items()}
    losses = hierarchical_loss(outputs, LABELS, PARENTS, WEIGHTS | {"genus": 0.0}, CrossEntropy())
    assert (losses["genus"] > 0).all()
    losses["loss"].sum().backward()
    assert outputs["genus"].grad is not None
    assert not outputs["genus"].grad.any()
    assert outputs["family"].grad is not None
    assert outputs["family"].grad.any()


def test_probabilities_of_a_coarser_level_sum_to_one_and_agree_with_labels():
    one_hot = torch.eye(5)[LABELS]
    coarse = target_at_level(one_hot, PARENTS["genus"])
    assert coarse.sum(1).tolist() == [1, 1, 1]
    assert coarse.argmax(1).tolist() == target_at_level(LABELS, PARENTS["genus"]).tolist()


@pytest.mark.parametrize(
    ("weights", "parents"),
    [
        ({"species": 1.0, "genus": 0.5}, PARENTS),
        (WEIGHTS, {"genus": PARENTS["genus"]}),
        (WEIGHTS | {"order": 1.0}, PARENTS),
    ],
)
def test_level_that_is_missing_or_too_many_is_named(weights, parents):
    with pytest.raises(PodiumError, match=r"'species', 'genus', 'family'.*hierarchical_loss\.weights"):
        hierarchical_loss(some_outputs(), LABELS, parents, weights, CrossEntropy())


def test_levels_have_as_many_classes_as_parents():
    assert check_parents(PARENTS, num_classes=5) == {"genus": 3, "family": 2}


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({"genus": torch.tensor([0, 0, 1])}, r"levels.genus must be int64 \(5,\)"),
        ({"genus": torch.tensor([0.0, 0, 1, 1, 1])}, "must be int64"),
        ({"genus": torch.tensor([0, 0, 1, -1, 1])}, "leaf class 3 has no parent"),
        ({"genus": torch.tensor([0, 0, 3, 3, 1])}, r"classes \[2\] have no leaf"),
        ({"loss": torch.tensor([0, 0, 0, 0, 0])}, "call the level otherwise"),
        ({"leaf": torch.tensor([0, 0, 0, 0, 0])}, "call the level otherwise"),
        ({"type": torch.tensor([0, 0, 0, 0, 0])}, "call the level otherwise"),
        (
            {"genus": torch.tensor([0, 0, 1, 2, 1]), "family": torch.tensor([0, 1, 1, 1, 1])},
            "levels: family does not stand above genus: the leaf classes [01] and [01] share class 0 of genus, "
            "but are in [01] and [01] of family",
        ),
        ({"family": PARENTS["family"], "genus": PARENTS["genus"]}, "genus does not stand above family"),
    ],
)
def test_broken_parents_are_named(parents, message):
    with pytest.raises(PodiumError, match=message):
        check_parents(parents, num_classes=5)


def test_leaves_count_by_their_ancestors_to_a_power():
    outputs = some_outputs()
    leaves = outputs["species"].softmax(1)
    found = combine_levels(leaves, outputs, PARENTS, {"genus": 0.5, "family": 2.0})
    for row in range(3):
        weights = [
            leaves[row, leaf].item()
            * outputs["genus"][row].softmax(0)[PARENTS["genus"][leaf]].item() ** 0.5
            * outputs["family"][row].softmax(0)[PARENTS["family"][leaf]].item() ** 2
            for leaf in range(5)
        ]
        assert found[row].tolist() == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-4)


def test_a_level_that_says_nothing_or_does_not_count_changes_nothing():
    outputs = some_outputs()
    leaves = outputs["species"].softmax(1)
    flat = {**outputs, "genus": torch.zeros(3, 3)}
    torch.testing.assert_close(combine_levels(leaves, flat, PARENTS, {"genus": 1.0}), leaves)
    torch.testing.assert_close(combine_levels(leaves, outputs, PARENTS, {"family": 0.0}), leaves)


def test_a_coarser_level_that_is_sure_decides_between_its_leaves_alone():
    leaves = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1]])
    sure = {"family": torch.tensor([[-1000.0, 1000.0]])}
    expected = torch.tensor([[0, 0, 1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(combine_levels(leaves, sure, PARENTS, {"family": 1.0}), expected)
