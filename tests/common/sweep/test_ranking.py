"""Rankings: the statistics against scipy's, and what is said of rows with failed, missing and single seeds."""

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.run import folder
from common.sweep.ranking import paired, rank
from common.sweep.ranking_tables import cells, print_ranking, write_ranking

score = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(score, score), min_size=2, max_size=8))
def test_the_interval_is_that_of_a_paired_t_test(pairs):
    ours, theirs = (np.array(values) for values in zip(*pairs, strict=True))
    found = paired(dict(enumerate(ours)), {**dict(enumerate(theirs)), 99: 0.3})  # 99 has no partner
    assert found is not None and found.mean == pytest.approx((ours - theirs).mean(), abs=1e-12)
    if np.ptp(ours - theirs) > 1e-9:
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    else:
        assert found.high - found.low < 1e-6


def test_one_pair_has_no_interval_and_no_pair_no_difference():
    one = paired({0: 0.5, 1: 0.9}, {1: 0.7})
    assert one is not None and one.mean == pytest.approx(0.2) and math.isnan(one.low) and math.isnan(one.high)
    assert paired({0: 0.5}, {1: 0.7}) is None


@pytest.fixture
def swept(tmp_path):
    """A function from rows {name: {seed: score | exit code | None}} to a sweep's folder."""

    def write(rows, metrics=None, label="", sample=False):
        metrics = metrics or {"valid_top1": "max", "valid_loss": "min"}
        content = {
            "label": label,
            "baseline": next(iter(rows)),
            "rows": {name: {"config": {"best": metrics}} for name in rows},
            "trials": {f"{name}/{seed}": {"row": name, "seed": seed} for name in rows for seed in rows[name]},
        }
        failed = {}
        for name, seeds in rows.items():
            for seed, value in seeds.items():
                run = tmp_path / name / str(seed)
                if isinstance(value, int):
                    failed[f"{name}/{seed}"] = value
                elif value is not None:
                    folder.write_json(run / "scores.json", dict.fromkeys(metrics, value))
                    folder.write_text(run / "config.yaml", yaml.safe_dump({"data": {"sample": sample}}))
                    folder.write_text(run / "done", "")
        folder.write_json(tmp_path / "failed.json", failed)
        folder.write_text(tmp_path / "sweep.yaml", yaml.safe_dump(content, sort_keys=False))
        return tmp_path

    return write


def test_rows_are_in_the_order_of_their_means_and_those_without_a_score_last(swept):
    rows = {
        "base": {0: 0.5, 1: 0.6},
        "lost": {0: 137, 1: None},
        "best": {0: 0.9, 1: 0.8},
        "half": {0: 0.7, 1: 1},
    }
    ranking = rank(swept(rows))
    assert [(row.name, row.place) for row in ranking.rows] == [
        ("best", 1),
        ("half", 2),
        ("base", 3),
        ("lost", None),
    ]
    best, half, base, lost = ranking.rows
    assert best.difference is not None and best.difference.mean == pytest.approx(0.3)
    assert half.difference is not None and half.difference.mean == pytest.approx(0.2)  # seed 0 alone
    assert base.difference is None and lost.difference is None
    assert (
        half.state == "seed 1 failed with code 1" and lost.state == "seed 0 failed with code 137; 1 not run"
    )
    assert best.sd("valid_top1") == pytest.approx(np.std([0.9, 0.8], ddof=1))


def test_a_metric_that_should_be_small_ranks_the_other_way_round(swept):
    ranking = rank(swept({"base": {0: 0.5}, "low": {0: 0.1}}, {"valid_loss": "min"}))
    assert [row.name for row in ranking.rows] == ["low", "base"]
    assert "One seed: no interval" in ranking.notes[0]
    heads, rows = cells(ranking)
    assert rows[0] == ["1", "low", "0.1000", "-0.4000", "1 of 1"] and "" not in heads[1:]


def test_tables_have_the_label_on_top_and_csv_the_unrounded_numbers(swept, capsys):
    rows = {"base": {0: 0.5, 1: 0.6}, "a|b": {0: 0.7123456, 1: 0.8}, "未": {0: 9, 1: None}}
    root = swept(rows, label="a short schedule", sample=True)
    write_ranking(root)
    lines = [line for line in (root / "ranking.md").read_text().splitlines() if line]
    assert lines[1].startswith("SAMPLE DATA") and lines[2] == "a short schedule"
    assert lines[5].startswith(r"| 1 | a\|b | 75.62 ± 6.20 % | +20.62 [")
    assert lines[7].startswith("| – | 未 | failed |")
    table = pd.read_csv(root / "ranking.csv").set_index("row")
    assert table.loc["a|b", "valid_top1"] == pytest.approx((0.7123456 + 0.8) / 2, abs=1e-12)
    assert math.isnan(table.loc["未", "valid_top1"]) and table.loc["base", "seeds"] == 2
    assert (root / "ranking.png").read_bytes()[:4] == b"\x89PNG"


def test_only_shares_are_shown_in_per_cent(swept):
    """A measure of one's own may be any number: its differences are then of its kind."""
    ranking = rank(
        swept({"base": {0: 12.5}, "other": {0: 11.9}}, {"valid_error": "min", "valid_top1": "max"})
    )
    assert cells(ranking)[1][0][2:4] == ["11.9000", "-0.6000"]


def test_an_unfinished_sweep_without_a_single_score_can_be_shown(swept):
    root = swept({"base": {0: None}, "other": {0: None}})
    ranking = write_ranking(root)
    assert [row.place for row in ranking.rows] == [None, None]


def test_a_single_row_is_compared_with_nothing(swept):
    root = swept({"recipe": {0: 0.5, 1: 0.6}})
    write_ranking(root)
    said = (root / "ranking.md").read_text().lower()
    assert "| 1 | recipe | 55.00 ± 7.07 % | 0.5500 ± 0.0707 | 2 of 2 |" in said
    assert not any(word in said for word in ("baseline", "difference", "ranked"))


def test_names_of_rows_stay_whole_on_a_narrow_terminal(swept, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["plain", "hierarchy", "balanced_sampler"]
    metrics = {"valid_top1": "max", "valid_gap": "max", "valid_class_accuracy": "max"}
    print_ranking(rank(swept({name: {0: 0.5, 1: 0.625, 2: 0.75} for name in names}, metrics)))
    said = capsys.readouterr().out
    assert all(name in said for name in names) and max(map(len, said.splitlines()[:9])) <= 80
