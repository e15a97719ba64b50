"""Names that mean something to Hydra, Rich, HTML, spreadsheets or terminals are names, on the whole road."""

import csv
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from common.config.compose import compose
from common.config.options import parse
from common.config.overrides import quote
from common.data.folder import FolderData
from common.data.spreadsheet import unescape
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.export import Export, export
from common.deliver.exported import Exported
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.run import folder
from common.run.members import class_names, read_folds
from common.run.predictor import Ensemble
from common.train.train import train
from tests.toys import write_images

NAMES = sorted([
    "${oc.env:HOME}", "${nope}", "\\${x}", "[red]", "[bold", "a,b 'q' \"d\" #12,3x4", "%s = {1}",
    "new\nline\r\x1b[31m", "-1", "~t\\n", "=HYPERLINK(1)", "'quote",
    "字 \u202ertl \U0001f469\u200d\U0001f680 é", "$x_1$ ^", "<script>&amp;",
    "null", "007",
])  # fmt: skip
CONF = """
data: {size: [16, 16], channels: 1, batch_size: 8, valid: 0.25}
model: {_target_: tests.toys.TinyNet}
trainer: {accelerator: cpu, max_epochs: 1, threads: 1, enable_progress_bar: false}
trial: {enabled: false}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("it's ${HOME} [x] #,=")
    root = place / "pictures ${nope} \\"
    write_images(root, per_class=4, classes=NAMES)
    for number, name in enumerate(NAMES):
        (root / name / "0.png").rename(
            root / name / f"{['=1+1', '[x]', '${y}', 'b#1,2x3', name][number % 5]}.png"
        )
    (root / NAMES[0] / os.fsdecode(b"caf\xe9.png")).write_bytes(b"whatever it holds")
    (place / "conf ${z}" / "competition").mkdir(parents=True)
    (place / "conf ${z}" / "competition" / "toy.yaml").write_text(CONF)
    words = ["competition=toy", f"data.root={quote(str(root))}", f"run_dir={quote(str(place / 'run'))}"]
    config = compose(words, [place / "conf ${z}"])
    train(OmegaConf.to_container(config, resolve=True))
    return place


def words(place: Path, **more: str) -> list[str]:
    given = {"run_dir": place / "run", "input": place / "pictures ${nope} \\", **more}
    return [f"{key}={quote(str(value))}" for key, value in given.items()]


def test_training_keeps_them(place):
    run = place / "run"
    checkpoint = torch.load(run / "jobs" / "train_fold0" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["class_names"] == NAMES == class_names(run / "jobs" / "train_fold0")
    split = read_folds(run)
    assert sorted(split["class"].unique()) == NAMES and all(map(os.path.isfile, split["path"]))
    assert [Path(path).parent.name for path in split["path"]] == split["class"].tolist()
    assert folder.load_config(run)["data"]["root"] == str(place / "pictures ${nope} \\")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;&amp;amp;" in page and "<script" not in page


def test_what_is_not_utf8_is_listed(place):
    ((path, reason),) = pd.read_csv(place / "run" / "bad_images.csv").to_numpy().tolist()
    assert path.endswith("caf\\xe9.png") and "not UTF-8" in reason


def test_evaluation_finds_its_classes_and_prints_them_harmlessly(place, capsys):
    out = evaluate(parse(Evaluate, words(place, out=place / "evaluation ${x}")))
    said = capsys.readouterr().out
    assert "[red]" in said or "$x_1$ ^" in said
    assert "\x1b" not in said and "\u202e" not in said and "caf\\xe9.png: its name is not UTF-8" in said
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert [row["class"] for row in scores["per_class"]] == NAMES
    assert [row["support"] for row in scores["per_class"]] == [4] * len(NAMES)
    table = pd.read_csv(out / "class_scores.csv", dtype={"class": str}, keep_default_na=False)
    assert table["class"].map(unescape).tolist() == NAMES and "'-1" in table["class"].tolist()


def test_the_exported_file_says_what_the_run_says(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ["calibration=0", "seconds=0.01", "images=4", "batch_size=2"]
    out = export(parse(Export, [*words(place, out=place / "export"), *short]))
    assert Exported(out / "model.onnx").class_names == NAMES == Ensemble.of_run(place / "run").class_names
    found = []
    for run in (place / "run", out / "model.onnx"):
        predict(parse(Predict, words(place, run_dir=run, out=tmp_path / "a.csv")))
        found.append(Path("a.csv").read_bytes())
    assert found[0] == found[1]
    with Path("a.csv").open(newline="", encoding="utf-8") as file:
        rows = [[unescape(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    assert sorted(image for image, _ in rows) == sorted(read_folds(place / "run")["id"])
    assert {label for _, label in rows} <= {*NAMES}
    ((path, reason),) = pd.read_csv("a_bad_images.csv").to_numpy().tolist()
    assert path.endswith("caf\\xe9.png") and "not UTF-8" in reason


def test_a_class_folder_that_is_not_utf8_is_one_message(place, tmp_path):
    write_images(tmp_path, per_class=1, classes=["a"])
    (tmp_path / "a").rename(tmp_path / os.fsdecode(b"\xff"))
    with pytest.raises(PodiumError, match=r"the folder «\\xff» is not UTF-8"):
        evaluate(parse(Evaluate, words(place, input=tmp_path)))


@pytest.mark.parametrize("what", ["link", "null", "full"])
def test_predictions_go_where_their_name_leads(place, tmp_path, what, capsys):
    pictures = tmp_path / "in"
    pictures.mkdir()
    shutil.copy(place / "pictures ${nope} \\" / NAMES[-1] / "1.png", pictures)
    (pictures / "2.png").write_bytes(b"broken")
    out, before = tmp_path / "link.csv", sorted(os.listdir("/dev"))
    out.symlink_to({"link": "real.csv", "null": "/dev/null", "full": "/dev/full"}[what])
    call = parse(Predict, words(place, input=pictures, out=out))
    if what == "full":
        with pytest.raises(PodiumError, match=r"link.csv could not be written: No space left"):
            predict(call)
    else:
        predict(call)
    assert out.is_symlink() and sorted(os.listdir("/dev")) == before
    beside = {path.name for path in tmp_path.iterdir()} - {"in", "link.csv"}
    if what == "link":
        assert beside == {"real.csv", "link_bad_images.csv"}
        assert (tmp_path / "real.csv").read_text().startswith("filename,label\n1.png,")
    else:
        assert not beside
    if what == "null":
        assert "2.png" in capsys.readouterr().err  # the picture that is left out is named all the same


def test_too_many_pixels_are_a_bad_picture(place, tmp_path):
    write_images(tmp_path / "in", per_class=1, classes=NAMES[:2])
    for more, count in (([], 2), (["max_pixels=255"], 0), (["max_pixels=256"], 2)):
        call = [*words(place, input=tmp_path / "in", out=tmp_path / "a.csv"), *more]
        if count:
            predict(parse(Predict, call))
            assert len(pd.read_csv(tmp_path / "a.csv")) == count
        else:
            with pytest.raises(PodiumError, match="16 × 16 pixels are more than max_pixels=255"):
                predict(parse(Predict, call))
    views = {"image": [], "batch": {}}
    data = {
        "root": str(tmp_path / "in"),
        "size": [8, 8],
        "folder": str(tmp_path / "run"),
        "seed": 0,
        "views": views,
    }
    with pytest.raises(PodiumError, match=r"2 of 2 images could not be read(.|\n)*max_pixels=255"):
        FolderData(**data, max_pixels=255).setup()
    assert FolderData(**data, max_pixels=255).preprocessing["max_pixels"] == 255


def test_a_disk_that_fills_is_one_message_and_leaves_nothing_half_written(place, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = folder.load_config(place / "run") | {"run_dir": str(tmp_path / "run"), "new": False}
    calls = {
        train: config
        | {"launcher": {"_target_": "common.train.launch.launchers.Serial"}, "on_failure": "continue"},
        predict: parse(Predict, words(place, out=tmp_path / "a.csv")),
        evaluate: parse(Evaluate, words(place, out=tmp_path / "evaluation")),
        export: parse(
            Export, [*words(place, out=tmp_path / "export"), "calibration=0", "seconds=0.01", "images=4"]
        ),
    }
    for verb, call in calls.items():
        size = 20_000 if verb is train else 900  # so training comes as far as its pictures
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python gets an error, not the signal
        try:
            with pytest.raises(PodiumError, match=f"{tmp_path}.* could not be written: File too large"):
                verb(call)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parts[0] for path in left} == {"run"} and not any("partial" in path.name for path in left)
    assert "config.yaml" in {path.name for path in left} and "done" not in {path.name for path in left}
