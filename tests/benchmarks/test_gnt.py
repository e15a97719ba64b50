"""The benchmark of .gnt files times what it says: every way of reading, on one thread."""

import cv2
import numpy as np
import pandas as pd
import torch

from benchmarks import gnt
from common.data.pixels.arrays import Packed
from tests.competitions.hccr.records import write_writer


def test_mapped_pixels_are_those_that_were_written(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 1), dtype=np.uint8)
    mapped = gnt.mapped_file(tmp_path / "pixels.u8", pixels)
    np.testing.assert_array_equal(mapped.stack([4, 0, 2]), pixels[[4, 0, 2]])
    assert list(tmp_path.iterdir()) == []


def test_memory_and_map_have_a_row_each_and_nothing_has_threads_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gnt, "resnet_speed", lambda: 1.0)
    torch.set_num_threads(2)
    seen, stack = [], Packed.stack

    def counted(self, rows):
        seen.append((len(rows), torch.get_num_threads(), cv2.getNumThreads()))
        return stack(self, rows)

    monkeypatch.setattr(Packed, "stack", counted)
    for number in range(6):
        write_writer(tmp_path / f"hwdb/trn/{number}.gnt", number)
    gnt.main(["competition=hccr", f"data.root={tmp_path / 'hwdb'}", "rounds=1", "records=1500"])
    assert seen == [(64, 1, 1), (6 * 14 - 64, 1, 1)]
    (table,) = tmp_path.rglob("gnt.csv")
    found = pd.read_csv(table).set_index("what")["value"]
    assert {"packed, in memory", "packed, mapped"} <= set(found.index)
    assert found["seconds for 1,500 generated records, cold"] > 0
    assert 20 < found["megabytes of the process, warm"] < 300 and not list(tmp_path.rglob("generated.gnt"))
