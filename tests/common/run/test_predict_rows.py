"""What checkpoints say of pictures, some of which have gone since they were trained on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data import predictions
from common.errors import PodiumError
from common.run.components import make_data, make_module
from common.run.predict_rows import predict_rows, write_predictions
from common.train.train import with_data


@pytest.fixture
def scored(toy, tmp_path):
    """A module, data whose pictures are read whenever they are asked for, and the rows that validate."""
    view = "views.image=[{Fliplr: 0.5}]"
    config = with_data(toy("data.in_memory_bytes=0", "data.max_bad_share=0.5", "data.batch_size=2", view))
    data = make_data(config, tmp_path / "run")
    data.setup()
    return make_module(config, data).eval(), data, data.rows("valid")


def test_what_can_be_read_no_more_is_named_and_left_out_and_the_others_keep_their_rows(
    scored, tmp_path, capsys
):
    module, data, rows = scored
    whole = np.concatenate([*predict_rows(module, data, rows, "cpu")])
    lost = [0, 4, 5, 6, 7]  # 4 to 7 are a batch
    for number in lost:
        Path(data.table["path"][rows[number]]).unlink()
    assert write_predictions(tmp_path / "some.parquet", module, data, rows, "cpu") == len(lost)
    kept = np.delete(np.arange(len(rows)), lost)
    table, found = predictions.read(tmp_path / "some.parquet")
    pd.testing.assert_frame_equal(table, data.table.iloc[rows[kept]][["id", "label"]].reset_index(drop=True))
    np.testing.assert_allclose(found, whole[kept], atol=1e-6)
    listed = pd.read_csv(tmp_path / "run" / "bad_images.csv")
    assert listed["path"].tolist() == data.table["path"].iloc[rows[lost]].tolist()
    assert "left out: 5 pictures can be read no more" in capsys.readouterr().out


def test_too_many_of_them_stop_the_scoring_and_leave_no_table(scored, tmp_path):
    module, data, rows = scored
    for path in data.table["path"].iloc[rows]:
        Path(path).unlink()
    with pytest.raises(
        PodiumError, match=r"8 of 12 pictures can be read no more.*data\.max_bad_share=0\.5"
    ) as said:
        write_predictions(tmp_path / "some.parquet", module, data, rows, "cpu")
    assert str(data.table["path"][rows[0]]) in str(said.value)
    assert not (tmp_path / "some.parquet").exists()
