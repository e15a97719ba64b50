"""Every kind of file of pictures means the same to train, evaluate, predict, serve and an exported file."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.config.options import parse
from common.data import predictions
from common.data.folder import FolderData
from common.data.reading.images import fit_to, needed, read
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.export import Export, export
from common.deliver.exported import Exported
from common.deliver.predict import Predict, predict
from common.serve.limits import Limits
from common.serve.pictures import prepare, shape
from common.serve.refused import Refused
from common.train.train import train
from tests.conftest import toy_composer
from tests.kinds import unreadable, write_kinds

COUNT = 62  # kinds of files


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `data`, two classes of every kind of file, and `run`, trained on them."""
    place = tmp_path_factory.mktemp("kinds")
    for seed, name in enumerate(("a", "b")):
        assert len(write_kinds(place / "data" / name, seed)) == COUNT
    for name, content in unreadable().items():
        (place / "data" / "a" / name).write_bytes(content)
    toys = toy_composer(place / "toys")
    words = [f"data.root={place}/data", "data.channels=3", "data.valid=0.5", "data.max_bad_share=0.1"]
    words.append("data.near_duplicates=false")  # they all are
    train(toys(*words, "trainer.max_epochs=1", f"run_dir={place / 'run'}"))
    return place


@pytest.fixture(scope="module")
def evaluated(place):
    """id → probabilities, of a folder."""
    out = evaluate(Evaluate(run_dir=str(place / "run"), input=f"{place}/data", out=f"{place}/evaluated"))
    table, rows = predictions.read(out / "predictions.parquet")
    return dict(zip(table["id"], rows, strict=True))


def test_training_reads_all_and_names_the_others_with_what_to_do(place):
    split = pd.read_csv(place / "run" / "folds.csv")
    assert len(split) == 2 * COUNT
    bad = pd.read_csv(place / "run" / "bad_images.csv")
    assert {Path(path).name for path in bad["path"]} == {*unreadable()}
    assert bad["reason"].str.contains("8 bits|8 or 16|convert it").all()


def test_evaluate_says_what_validation_said(place, evaluated):
    table, rows = predictions.read(place / "run" / "jobs" / "train_fold0" / "predictions.parquet")
    assert len(table) == COUNT and len(evaluated) == 2 * COUNT
    for image, row in zip(table["id"], rows, strict=True):
        np.testing.assert_allclose(evaluated[image], row, atol=1e-6)


def test_predict_has_each_once_and_lists_the_others(place, evaluated, capsys):
    predict(Predict(run_dir=str(place / "run"), input=f"{place}/data", out=f"{place}/out.csv"))
    written = pd.read_csv(place / "out.csv")
    assert written["filename"].tolist() == sorted(evaluated)
    assert written["label"].tolist() == ["ab"[evaluated[image].argmax()] for image in written["filename"]]
    assert len(pd.read_csv(place / "out_bad_images.csv")) == len(unreadable())
    assert f"each of {2 * COUNT} images that could be read once" in capsys.readouterr().out


def test_an_exported_file_says_the_same(place, evaluated):
    words = ["seconds=0.02", "calibration=8", "batch_size=4", "threads=1", f"input={place}/data", "images=20"]
    out = export(parse(Export, [f"run_dir={place / 'run'}", f"out={place / 'export'}", *words]))
    model = Exported(out / "model.onnx")
    found = dict(model.predict([*evaluated], [place / "data" / image for image in evaluated], 16, []))
    assert found.keys() == evaluated.keys()
    for image, row in found.items():
        np.testing.assert_allclose(row, evaluated[image], atol=1e-4)


def test_the_service_sees_the_same_pixels_and_refuses_the_same(place, evaluated):
    how = {"size": [16, 16], "channels": 3, "fit": "stretch", "pad_value": 0, "interpolation": "area"}
    for image in evaluated:
        data = (place / "data" / image).read_bytes()
        picture = read(place / "data" / image, 3, needed(how))
        np.testing.assert_array_equal(prepare(data, [how], Limits())[0], fit_to(picture, how))
        assert shape(data) == read(place / "data" / image, 3).shape[:2]
    for name in unreadable():
        if name != "raw.cr2":  # nothing but its name says what it is
            with pytest.raises(Refused, match=r"8 bits|8 or 16|convert it"):
                prepare((place / "data" / "a" / name).read_bytes(), [how], Limits())


@pytest.mark.parametrize("most", [0, 2**30])
def test_what_validates_has_the_pixels_of_predict_whatever_training_keeps(most, tmp_path):
    """Image views keep pictures larger than the model wants them, and JPEGs are decoded at reduced sizes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            picture = cv2.resize(rng.integers(0, 256, (60, 50, 3), np.uint8), (500, 600))
            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.jpg"), picture)
    flip = {"Fliplr": {"p": 0.5}}
    data = FolderData(
        root=str(tmp_path / "data"), size=[32, 32], folder=str(tmp_path / "run"), seed=0, valid=0.5,
        views={"image": [flip], "batch": {}}, in_memory_bytes=most,
    )  # fmt: skip
    data.setup()
    rows = data.rows("valid")
    seen = data.valid_images.__getitems__([(0, int(row)) for row in rows])["image"].numpy()
    for image, row in zip(seen, rows, strict=True):
        picture = read(data.table["path"][row], 3, needed(data.preprocessing))
        assert picture.shape[0] < 600
        np.testing.assert_array_equal(image.transpose(1, 2, 0), fit_to(picture, data.preprocessing))
