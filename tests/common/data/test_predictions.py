"""Prediction tables: what is read is what was written, and streamed scores equal scores of the whole."""

import numpy as np
import pyarrow as pa
import pytest

from common.data import predictions
from common.ensemble import pseudo_labels
from common.run.members import Member
from common.task.scores import log_loss, score_file, topk_accuracy
from common.train.run_scores import _write_mean


def random_rows(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.02), count).astype(np.float32)
    return [f"{i}.jpg" for i in range(count)], rng.integers(0, classes, count), rows


def test_pieces_are_joined_and_read_back_unchanged(tmp_path):
    ids, labels, rows = random_rows(2500, 7)
    folds = np.arange(2500) % 5
    predictions.write(
        tmp_path / "p.parquet", ids, labels, (rows[i : i + 300] for i in range(0, 2500, 300)), folds
    )
    frame, found = predictions.read(tmp_path / "p.parquet")
    assert frame["id"].tolist() == ids and (frame["label"] == labels).all() and (frame["fold"] == folds).all()
    assert found.dtype == np.float32 and (found == rows).all()
    assert max(len(frame) for frame, _ in predictions.batches(tmp_path / "p.parquet")) <= 1024


def test_above_512_classes_the_top_32_and_the_mass_of_the_rest_are_kept(tmp_path):
    ids, labels, rows = random_rows(50, 600)
    predictions.write(tmp_path / "p.parquet", ids, labels, rows)
    _, found = predictions.read(tmp_path / "p.parquet")
    order = np.argsort(-rows, axis=1)
    top, rest = order[:, :32], order[:, 32:]
    assert (np.take_along_axis(found, top, 1) == np.take_along_axis(rows, top, 1)).all()
    expected = np.take_along_axis(rows, rest, 1).sum(1) / (600 - 32)
    np.testing.assert_allclose(np.take_along_axis(found, rest, 1), np.tile(expected[:, None], 568), atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def handed_on(monkeypatch):
    """The sizes of the pieces that are written, filled in as they are."""
    sizes, write = [], predictions.write

    def noting(path, ids, labels, pieces, folds=None):
        assert not isinstance(pieces, np.ndarray)

        def noted():
            for piece in pieces:
                sizes.append(len(piece))
                yield piece

        write(path, ids, labels, noted(), folds)

    monkeypatch.setattr(predictions, "write", noting)
    return sizes


def test_means_over_folds_are_written_piece_by_piece(tmp_path, monkeypatch):
    files, tables = [tmp_path / f"{fold}.parquet" for fold in range(3)], []
    for fold, file in enumerate(files):
        ids, labels, rows = random_rows(2500, 600, fold)
        predictions.write(file, ids, labels * 0 + 7, rows)
        tables.append(predictions.read(file, exact=True)[1])
    sizes = handed_on(monkeypatch)
    _write_mean(tmp_path / "mean.parquet", files)
    assert sum(sizes) == 2500 and max(sizes) <= predictions.ROWS
    expected = tmp_path / "expected.parquet"
    monkeypatch.undo()
    predictions.write(expected, ids, np.full(2500, 7), np.mean(tables, axis=0))
    (frame, found), (like, rows) = predictions.read(tmp_path / "mean.parquet"), predictions.read(expected)
    assert frame.equals(like)
    np.testing.assert_allclose(found, rows, atol=1e-6)


def test_what_teachers_say_of_new_pictures_is_written_as_it_is_said(tmp_path, monkeypatch, capsys):
    """All but every third of 3,000 pictures can be read."""
    names = [f"{number:04d}.png" for number in range(3000)]
    _, _, rows = random_rows(3000, 600)
    said = {f"unlabelled/{name}": row for name, row in zip(names, rows, strict=True)}
    (tmp_path / "new").mkdir()
    for name in names:
        (tmp_path / "new" / name).touch()

    class Teachers:
        def __init__(self, mean, members):
            pass

        def predict(self, ids, paths, batch_size, bad):
            for number, image in enumerate(ids):
                if number % 3:
                    yield image, said[image]
                else:
                    bad.append(image)

    monkeypatch.setattr(pseudo_labels, "Ensemble", Teachers)
    monkeypatch.setattr(pseudo_labels, "teachers", lambda run, origin: [Member(tmp_path)])
    (tmp_path / "done").touch()
    config = {"data": {"unlabelled": str(tmp_path / "new"), "certainty": 0.5},
              "job": {"stage": "student", "soft_labels_from": "teacher"}}  # fmt: skip
    sizes = handed_on(monkeypatch)
    pseudo_labels.write_pseudo_labels(tmp_path, config)
    assert sizes == [1024, 976]
    frame, found = predictions.read(tmp_path / "out_of_fold" / "student_unlabelled.parquet")
    known = rows[np.arange(3000) % 3 > 0]
    assert frame["id"].tolist() == [f"unlabelled/{name}" for row, name in enumerate(names) if row % 3]
    assert (found.argmax(1) == known.argmax(1)).all() and (frame["label"] == -1).all()
    sure = int((known.max(1) >= 0.5).sum())
    assert f"{sure} of 2000 unlabelled pictures are certain" in capsys.readouterr().out


def test_scores_of_a_file_equal_those_of_the_whole(tmp_path):
    ids, labels, rows = random_rows(2100, 9)
    predictions.write(tmp_path / "p.parquet", ids, labels, rows)
    found = score_file(tmp_path / "p.parquet", [str(i) for i in range(9)])
    assert found["top1"] == pytest.approx(topk_accuracy(rows, labels, 1))
    assert found["top5"] == pytest.approx(topk_accuracy(rows, labels, 5))
    assert found["loss"] == pytest.approx(log_loss(rows, labels), rel=1e-6)
    assert found["images"] == 2100 and sum(row["support"] for row in found["per_class"]) == 2100
    top = predictions.read_top(tmp_path / "p.parquet")
    assert (top["predicted"] == rows.argmax(1)).all() and np.allclose(top["probability"], rows.max(1))


def test_reading_holds_a_piece_of_the_file_not_all_that_was_read(tmp_path):
    path, rng = tmp_path / "p.parquet", np.random.default_rng(0)
    pieces = (rng.dirichlet(np.ones(64), 1024).astype(np.float32) for _ in range(40))
    predictions.write(path, [str(n) for n in range(40 * 1024)], [0] * 40 * 1024, pieces)
    assert path.stat().st_size > 8e6
    before, held = pa.total_allocated_bytes(), 0
    for _ in predictions.batches(path):
        held = max(held, pa.total_allocated_bytes() - before)
    assert held < 2e6


def test_a_table_that_lacks_rows_is_not_left_behind(tmp_path):
    ids, labels, rows = random_rows(10, 3)
    with pytest.raises(ValueError, match="10 ids, but 9 rows"):
        predictions.write(tmp_path / "p.parquet", ids, labels, rows[:9])
    assert not (tmp_path / "p.parquet").exists()
