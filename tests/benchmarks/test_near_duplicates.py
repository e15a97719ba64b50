"""The benchmark of near-duplicates counts what it plants."""

import numpy as np
import pandas as pd

from benchmarks import near_duplicates


def test_planted_copies_are_counted():
    images = list(near_duplicates.generated(30, 48))
    row = near_duplicates.measured([*images, images[0]], np.arange(31), turned=True, planted=10)
    assert (row["pictures"], row["two classes, same"], row["two classes"]) == (31, 2, 2)
    assert {row[kind] for kind in near_duplicates.TURNED} == {"1.000"} and float(row["crop 5 %"]) > 0.5


def test_data_sets_that_are_missing_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    near_duplicates.main(["counts=[20]"])
    assert "garbage is left out: there is no folder data/garbage" in capsys.readouterr().out
    times = pd.read_csv(next((tmp_path / "runs" / "bench").glob("*/near_duplicates_times.csv")))
    assert times["pictures"].tolist() == [20]
