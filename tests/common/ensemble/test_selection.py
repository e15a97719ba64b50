"""The choice of a blend: against brute force, where the optimum is known, and where there is nothing but luck."""

from itertools import combinations

import numpy as np
import pytest

from common.ensemble import selection
from common.ensemble.selection import Rule, outcomes, select
from common.errors import PodiumError
from common.run.members import MEANS, combine
from common.task.scores import log_loss, topk_accuracy


def random_stack(count, images, classes, seed=0, skill=1.0):
    """Softmax of noise, with `skill` added for the true class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(0, 2, (count, images, classes))
    logits[:, np.arange(images), labels] += skill
    powers = np.exp(logits)
    return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32), labels


def score(rows, labels, metric):
    """Larger is better."""
    if metric == "loss":
        return -log_loss(rows, labels)
    return topk_accuracy(rows, labels, 5 if metric == "top5" else 1)


def brute_force(stack, labels, metric, means, most, allowed=lambda subset: True):
    """((score, tie), subset, mean) of the best, by nothing but the plain scores."""
    tie = "top1" if metric == "loss" else "loss"
    found = []
    for size in range(1, most + 1):
        for subset in filter(allowed, combinations(range(len(stack)), size)):
            for mean in means:
                rows = combine(stack[list(subset)], mean)
                found.append(((score(rows, labels, metric), score(rows, labels, tie)), subset, mean))
    return max(found, key=lambda one: one[0])


@pytest.mark.parametrize("metric", ["top1", "top5", "loss"])
@pytest.mark.parametrize("means", [MEANS, ("arithmetic",), ("geometric",)])
def test_the_choice_is_that_of_brute_force(metric, means):
    stack, labels = random_stack(6, 90, 8)
    (value, _), subset, mean = brute_force(stack, labels, metric, means, 3)
    chosen = select(stack, labels, Rule(metric, means, 3), resamples=3)
    assert chosen.exhaustive and chosen.members == subset
    assert len(subset) == 1 or chosen.mean == mean
    assert chosen.score == pytest.approx(-value if metric == "loss" else value, abs=1e-6)


@pytest.mark.parametrize("metric", ["top1", "loss"])
def test_the_optimism_is_that_of_brute_force(metric):
    stack, labels = random_stack(5, 60, 4, seed=1)
    rng, gaps = np.random.default_rng(7), []
    for _ in range(20):
        rows = rng.integers(0, 60, 60)
        (value, _), subset, mean = brute_force(stack[:, rows], labels[rows], metric, MEANS, 2)
        gaps.append(value - score(combine(stack[list(subset)], mean), labels, metric))
    found = select(stack, labels, Rule(metric, most=2), resamples=20, seed=7)
    assert found.optimism == pytest.approx(np.mean(gaps) * (-1 if metric == "loss" else 1), abs=1e-5)
    assert found.corrected == pytest.approx(found.score - found.optimism)


@pytest.mark.parametrize("mean", MEANS)
def test_outcomes_are_the_scores_of_the_means_in_whatever_blocks(mean, monkeypatch):
    stack, labels = random_stack(5, 40, 7, seed=2)
    subsets = [(0,), (1, 3), (0, 2, 4)]
    whole = outcomes(stack, labels, subsets, mean, 2)
    monkeypatch.setattr(selection, "BLOCK", 100)
    for one, other in zip(whole, outcomes(stack, labels, subsets, mean, 2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    for row, subset in enumerate(subsets):
        rows = combine(stack[list(subset)], mean)
        assert whole[0][row].mean() == pytest.approx(topk_accuracy(rows, labels, 2))
        assert whole[1][row].mean() == pytest.approx(log_loss(rows, labels), rel=1e-5)


def specialists():
    """Three candidates, each sure of its own third of the images and clueless elsewhere; a mediocre all-rounder."""
    labels = np.arange(90) % 3
    stack = np.full((4, 90, 3), 1 / 3, np.float32)
    for third in range(3):
        rows = np.arange(30) + 30 * third
        stack[third, rows] = np.eye(3, dtype=np.float32)[labels[rows]] * 0.94 + 0.02
    stack[3] = 0.3
    stack[3, np.arange(90), labels] = 0.4
    stack[3, :40] = stack[3, :40][:, [1, 2, 0]]  # wrong on these
    return stack, labels


@pytest.mark.parametrize("greedy", [False, True])
def test_models_that_complete_each_other_are_found(greedy, monkeypatch):
    if greedy:
        monkeypatch.setattr(selection, "SUBSETS", 1)
    stack, labels = specialists()
    found = select(stack, labels, Rule(most=4), resamples=20)
    assert found.exhaustive is not greedy
    assert set(found.members) >= {0, 1, 2} and found.score == 1
    if not greedy:
        assert found.members == (0, 1, 2)  # fewer models where more are no better
    assert found.optimism == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("metric", ["top1", "loss"])
def test_of_equal_choices_the_other_metric_decides(metric):
    """Two candidates of equal top-1, of different loss; two of equal loss, of different top-1."""
    labels = np.zeros(20, np.int64)
    unsure, sure = np.tile([0.4, 0.3, 0.3], (20, 1)), np.tile([0.8, 0.1, 0.1], (20, 1))
    wrong = np.tile([0.4, 0.45, 0.15], (20, 1))
    stack = np.stack([unsure, sure] if metric == "top1" else [wrong, unsure]).astype(np.float32)
    found = select(stack, labels, Rule(metric, most=1), resamples=5)
    assert found.members == (1,) and found.optimism == pytest.approx(0, abs=1e-6)


def test_copies_add_nothing():
    stack, labels = random_stack(1, 50, 4)
    assert select(np.repeat(stack, 4, axis=0), labels, Rule(most=4), resamples=0).members == (0,)


def test_greedy_equals_exhaustive_where_one_model_is_taken_and_is_never_better_otherwise(monkeypatch):
    stack, labels = random_stack(7, 80, 5, seed=3)
    every = {most: select(stack, labels, Rule(most=most), resamples=10) for most in (1, 3)}
    monkeypatch.setattr(selection, "WORK", 0)
    greedy = {most: select(stack, labels, Rule(most=most), resamples=10) for most in (1, 3)}
    assert not greedy[1].exhaustive
    assert (greedy[1].members, greedy[1].optimism) == (every[1].members, every[1].optimism)
    assert every[1].score <= greedy[3].score <= every[3].score


def test_of_pure_luck_most_is_seen_through():
    """Candidates that guess among four classes: what the best of forty has above a quarter is luck."""
    excess, corrected = [], []
    for seed in range(12):
        stack, labels = random_stack(40, 300, 4, seed=seed, skill=0.0)
        found = select(stack, labels, Rule(most=1, means=("arithmetic",)), resamples=100, seed=seed)
        excess.append(found.score - 0.25)
        corrected.append(found.corrected - 0.25)
    assert np.mean(excess) > 0.045
    assert abs(np.mean(corrected)) < 0.4 * np.mean(excess)


def test_a_clear_winner_has_no_optimism():
    stack, labels = random_stack(5, 200, 4, seed=5, skill=0.0)
    stack[2] = 0.01
    stack[2, np.arange(200), labels] = 0.97
    found = select(stack, labels, Rule(most=1), resamples=50)
    assert found.members == (2,) and found.optimism == pytest.approx(0, abs=1e-9)


def test_a_budget_is_kept_and_one_that_nothing_keeps_is_refused(monkeypatch):
    stack, labels = random_stack(6, 80, 5, seed=6)
    times = (1.0, 2.0, 4.0, 0.5, 2.5, 3.0)
    rule = Rule(most=3, milliseconds=times, budget=4.2)

    def allowed(subset):
        return sum(times[member] for member in subset) <= 4.2

    assert (
        select(stack, labels, rule, resamples=0).members
        == brute_force(stack, labels, "top1", MEANS, 3, allowed)[1]
    )
    monkeypatch.setattr(selection, "SUBSETS", 1)
    assert allowed(select(stack, labels, rule, resamples=0).members)
    with pytest.raises(PodiumError, match=r"milliseconds=0\.4: .* the fastest takes 0\.5 ms"):
        select(stack, labels, Rule(milliseconds=times, budget=0.4))
