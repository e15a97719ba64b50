"""What is counted of the levels equals a loop over single images."""

import pytest
import torch

from common.task.level_metrics import LevelMetrics

PARENTS = {"genus": torch.tensor([0, 0, 1, 2, 1]), "family": torch.tensor([0, 0, 1, 1, 1])}


def test_both_shares_equal_a_loop_over_images_and_batches():
    generator = torch.Generator().manual_seed(0)
    metrics, right, agreeing = LevelMetrics(PARENTS), dict.fromkeys(PARENTS, 0), dict.fromkeys(PARENTS, 0)
    for size in (7, 1, 12):
        labels = torch.randint(0, 5, (size,), generator=generator)
        leaves = torch.rand(size, 5, generator=generator).softmax(1)
        outputs = {"leaf": leaves.log(), "genus": torch.randn(size, 3, generator=generator)}
        outputs["family"] = torch.randn(size, 2, generator=generator)
        metrics.update(leaves, outputs, labels)
        for row in range(size):
            leaf = max(range(5), key=lambda k: float(leaves[row, k]))
            for level, parent in PARENTS.items():
                said = max(range(int(parent.max()) + 1), key=lambda k: float(outputs[level][row, k]))
                right[level] += said == int(parent[labels[row]])
                agreeing[level] += said == int(parent[leaf])
    found = {name: float(value) for name, value in metrics.compute().items()}
    for level in PARENTS:
        assert found[f"valid_{level}_head_top1"] == pytest.approx(right[level] / 20)
        assert found[f"valid_{level}_consistency"] == pytest.approx(agreeing[level] / 20)
    assert set(found) == set(metrics.names)
    taken = metrics.take()
    assert taken["genus_consistency"] == pytest.approx(agreeing["genus"] / 20)
    assert int(metrics.images) == 0 and not metrics.right.any()


def test_heads_that_follow_the_leaves_agree_always():
    metrics = LevelMetrics(PARENTS)
    leaves = torch.rand(9, 5, generator=torch.Generator().manual_seed(2))
    outputs = {
        level: torch.nn.functional.one_hot(parent[leaves.argmax(1)]).float()
        for level, parent in PARENTS.items()
    }
    metrics.update(leaves, outputs, torch.zeros(9, dtype=torch.int64))
    assert metrics.take()["family_consistency"] == 1
