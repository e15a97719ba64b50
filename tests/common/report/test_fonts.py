"""Pictures show no empty boxes, whatever classes are called and whatever fonts there are."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from common.report import canvas, fonts, pictures
from common.report.confusion import confusion

# Latin, Chinese, Arabic, emoji (one of several code points), Hangul, Devanagari, beyond 16 bits, private, combined
NAMES = ["plain", "字典", "مرحبا", "😀", "👩‍🚀", "한글", "क्षि", "𠀀", "\ue000", "e\u0301", "$x_1$"]


def only(monkeypatch, files) -> None:
    monkeypatch.setattr(fonts, "_files", lambda: files)


@pytest.fixture(params=["matplotlib's own", "this system's"])
def some_fonts(request, monkeypatch):
    if request.param == "matplotlib's own":
        only(monkeypatch, fonts._files()[:1])
        fonts._file_for.cache_clear()
    yield
    fonts._file_for.cache_clear()


def saved(figure: Figure) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # «Glyph … missing from font»: a box
        figure.savefig(io.BytesIO(), format="png")


def test_no_picture_has_boxes(some_fonts):
    count = len(NAMES)
    counts = np.random.default_rng(0).integers(0, 5, (count, count))
    saved(confusion(counts, NAMES))
    images = [np.zeros((8, 8, 3), np.uint8)] * count
    saved(pictures.view_sheet(np.stack(images), NAMES, list(range(count))))
    rows = pd.DataFrame(
        {"id": [f"{name}/图.png" for name in NAMES], "label": range(count), "probability": 0.5}
    )
    saved(pictures.worst_mistakes(images, rows.assign(predicted=(rows["label"] + 1) % count), NAMES))
    curves = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "valid_字典": [0.1, 0.2]})
    saved(pictures.learning_curves(curves, "valid_字典"))


def test_names_that_can_be_drawn_stay_and_the_others_are_numbers_with_a_note(monkeypatch):
    only(monkeypatch, fonts._files()[:1])
    names = canvas.drawable(NAMES, range(100, 100 + len(NAMES)))
    assert names.shown[:3] == ["plain", "#101", "مرحبا"]
    assert names.shown[5] == "#105" and names.note
    few = canvas.drawable(["a", "b"], [1, 2])
    assert (few.shown, few.note) == (["a", "b"], "")
    assert canvas.drawable(["字"], [7]).shown == ["#7"]
    assert canvas.drawable([], []).note == ""
