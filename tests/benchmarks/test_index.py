"""The benchmark of reading and indexing measures a data set of the size it says."""

import pandas as pd
import pytest

from benchmarks import index
from common.errors import PodiumError


def test_it_measures_what_it_generated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    index.main(["classes=40", "images=600"])
    row = pd.read_csv(next((tmp_path / "runs" / "bench").glob("*/index.csv"))).iloc[0]
    assert row["classes"] == 40 and row["images"] == 600 + 3 * 40
    assert "GB (aim 2)" in capsys.readouterr().out


def test_fewer_images_than_classes_are_refused():
    with pytest.raises(PodiumError, match="images must be at least 5"):
        index.main(["classes=5", "images=4"])
