"""Exports of real small runs: checked, delivered or rejected, and predicted with where torch cannot be imported."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession

from common.__main__ import main
from common.config.options import parse
from common.deliver import forms, graph, quantise
from common.deliver.compare import INT8, ONNX
from common.deliver.export import Export, _verdict, export
from common.deliver.exported import Exported
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.run import folder
from common.run.members import Member, write_members
from common.train.train import train
from tests.toys import write_images

ROOT = Path(__file__).parents[3]
QUICK = ["seconds=0.02", "calibration=8", "batch_size=4", "threads=1"]
CHINESE = ["其他垃圾/烟蒂", "可回收物, 锅", "鱼骨"]


def exported(run, out, *words) -> Path:
    return export(parse(Export, [f"run_dir={run}", f"out={out}", *QUICK, *words]))


@pytest.fixture(scope="module")
def wide(toys, tmp_path_factory):
    """A run of RGB pictures that are wider than high, of classes with Chinese names, and its export."""
    root = tmp_path_factory.mktemp("wide")
    write_images(root / "images", classes=["a", "b", "c"], size=24)
    words = [f"data.root={root}/images", "data.size=[12,20]", "data.channels=3", "data.fit=pad"]
    train(toys(*words, "data.pad_value=255", "trainer.max_epochs=1", f"run_dir={root / 'run'}"))
    import torch

    path = root / "run" / "jobs" / "train_fold0" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["class_names"] = CHINESE
    torch.save(checkpoint, path)
    exported(root / "run", root / "out")
    return root


def test_the_files_carry_what_predicting_needs(wide):
    model = Exported(wide / "out" / "model.onnx")
    assert model.class_names == CHINESE
    assert model.preprocessing["size"] == [12, 20] and model.preprocessing["channels"] == 3
    assert model.about["competition"] == "toy" and model.about["run"] == "run"
    assert model.about["how"] == "one model, best.ckpt, one view"
    said = folder.load_json(wide / "out" / "export.json")
    assert said["checked_on"] == "what the first model was validated on"
    assert {row["form"]: row["equal"] for row in said["forms"]}[ONNX]
    assert (wide / "out" / "model.pt2").exists()


WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None\nfrom common.__main__ import main\nsys.exit(main(sys.argv[1:]))"
)


def test_predicting_with_a_file_needs_no_torch_and_gives_the_runs_submission(wide, capfd):
    words = [f"input={wide / 'images'}", "batch_size=5"]
    predict(parse(Predict, [f"run_dir={wide / 'run'}", f"out={wide / 'run.csv'}", *words]))
    verb = ["predict", f"run_dir={wide / 'out' / 'model.onnx'}"]
    command = [sys.executable, "-c", WITHOUT_TORCH, *verb]
    done = subprocess.run(
        [*command, f"out={wide / 'file.csv'}", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "36 predictions" in done.stdout and "exported, one model" in done.stdout
    assert (wide / "file.csv").read_bytes() == (wide / "run.csv").read_bytes()
    assert set(pd.read_csv(wide / "file.csv")["label"]) <= set(CHINESE)


def test_one_picture_prints_its_best_classes(wide, capsys):
    words = [f"run_dir={wide / 'out' / 'model.onnx'}", f"input={wide / 'images' / 'a' / '0.png'}"]
    predict(parse(Predict, words))
    shares = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines() if " %  " in line]
    assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.1)


def test_a_folder_without_out_is_written_beside_the_file(wide, tmp_path):
    shutil.copy(wide / "out" / "model.onnx", tmp_path / "moved.onnx")
    path = predict(parse(Predict, [f"run_dir={tmp_path / 'moved.onnx'}", f"input={wide / 'images'}"]))
    assert path == tmp_path / "submission.csv"


def broken(program, path, about):
    """A graph whose last layer has other weights."""
    whole(program, path, about)
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda one: len(one.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path)


whole = graph.write_onnx


def test_a_graph_that_says_something_else_is_rejected(run, tmp_path, monkeypatch, capsys):
    exported(run, tmp_path, "calibration=0")
    assert (tmp_path / "model.onnx").exists()
    monkeypatch.setattr(forms, "write_onnx", broken)
    words = [f"run_dir={run}", f"out={tmp_path}", *QUICK]
    assert main(["export", *words]) == 1
    said = capsys.readouterr()
    assert "DIFFERS" in said.out and "rejected_model.onnx differs from the model" in said.err
    assert "ONNX int8: not kept: its source differs" in said.out
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"model.pt2", "rejected_model.onnx", "export.json"}


def test_int8_is_measured_and_an_old_one_never_stays(run, tmp_path):
    (tmp_path / "model_int8.onnx").write_text("of an earlier export")
    exported(run, tmp_path)
    rows = {row["form"]: row for row in folder.load_json(tmp_path / "export.json")["forms"]}
    assert rows[INT8]["note"].startswith(("kept", "not kept")) and rows[INT8]["top1"] >= 0
    assert (tmp_path / "model_int8.onnx").exists() == (rows[INT8]["note"] == "kept")


def test_int8_says_nearly_the_same_and_keeps_the_metadata(wide, tmp_path):
    source = wide / "out" / "model.onnx"
    images = np.random.default_rng(0).integers(0, 256, (32, 12, 20, 3), dtype=np.uint8)
    quantise.quantise(source, tmp_path / "int8.onnx", images)
    before, after = Exported(source, threads=1), Exported(tmp_path / "int8.onnx", threads=1)
    assert after.about == before.about
    operations = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "QuantizeLinear" in operations
    difference = np.abs(before.probabilities(images) - after.probabilities(images)).max()
    assert 0 < difference < 0.1


def test_int8_spends_no_levels_on_what_relu6_cuts_off(tmp_path):
    """A layer from -194 to 6, cut off below 0: scaled by its own range, errors would reach half of 200 / 255."""
    weights = {
        "high": np.full((1, 1, 1, 1), 200, np.float32),
        "low": np.full(1, -194, np.float32),
        "same": np.ones((1, 1, 1, 1), np.float32),
        "zero": np.float32(0),
        "six": np.float32(6),
        "white": np.float32(255),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["moved"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["moved"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["real", "white"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "high", "low"], ["wide"]),
        helper.make_node("Clip", ["wide", "zero", "six"], ["relu6"]),
        helper.make_node("Conv", ["relu6", "same"], ["out"]),
    ]
    shape = ["n", 4, 64, 1]
    ends = [
        helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, shape),
        helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 1, 4, 64]),
    ]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    whole = helper.make_graph(nodes, "relu6", ends[:1], ends[1:], held)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "fp32.onnx")
    images = np.arange(256, dtype=np.uint8).reshape(1, 4, 64, 1)
    quantise.quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", images)
    before, after = (
        InferenceSession(tmp_path / name).run(None, {"image": images})[0]
        for name in ("fp32.onnx", "int8.onnx")
    )
    assert before.max() == 6 and np.abs(before - after).max() < 0.2


@pytest.mark.parametrize(
    ("top1", "single", "batch", "note"),
    [
        (0.895, (1.2, 1.1, 1.3), (2, 1.01, 3), "kept"),
        (0.894, (2, 2, 2), (2, 2, 2), "not kept: 0.6 points"),
        (0.95, (1.2, 0.99, 1.3), (2, 2, 2), "not kept: .* with one picture"),
        (0.95, (2, 2, 2), (1.0, 1.0, 1.0), "not kept: .* in batches"),
        (float("nan"), (2, 2, 2), (2, 2, 2), "not kept"),
    ],
)
def test_int8_must_surely_be_faster_and_about_as_good(top1, single, batch, note):
    """By the interval of each gain, not by its middle."""
    plain = {"top1": 0.1, "equal": True}
    int8 = {"top1": top1, "gain": [single, batch]}
    assert re.match(note, _verdict(int8, plain, trained=0.9))
    assert _verdict(int8, plain | {"equal": False}, trained=0.9) == "not kept: its source differs"


@pytest.fixture
def mixed(run, wide, toys, tmp_path):
    """A run folder of two models that see pictures of different sizes."""
    small = tmp_path / "small"
    train(toys("trainer.max_epochs=1", "data.size=[12, 10]", f"run_dir={small}"))
    shutil.copytree(run, tmp_path / "mixed")
    jobs = [one / "jobs" / "train_fold0" for one in (run, small)]
    write_members(tmp_path / "mixed", [Member(job) for job in jobs])
    return tmp_path / "mixed"


def test_of_models_that_see_different_pictures_one_is_exported(mixed, tmp_path, capsys):
    exported(mixed, tmp_path / "first", "calibration=0")
    assert "exported is the first" in capsys.readouterr().out
    exported(mixed, tmp_path / "second", "calibration=0", "member=1")
    assert "exported is the first" not in capsys.readouterr().out
    sizes = [Exported(tmp_path / out / "model.onnx").preprocessing["size"] for out in ("first", "second")]
    assert sizes == [[16, 16], [12, 10]]
    with pytest.raises(PodiumError, match="member must be one of 0 to 1, got 2"):
        exported(mixed, tmp_path / "third", "member=2")


def test_labelled_pictures_of_ones_own_check_too(run, root, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "ring").symlink_to(f"{root}/ring")
    exported(run, tmp_path / "out", f"input={tmp_path / 'some'}", "calibration=0")
    said = folder.load_json(tmp_path / "out" / "export.json")
    assert said["images"] == 12 and said["checked_on"] == str(tmp_path / "some")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run_dir=nowhere"], "nowhere is no run folder"),
        (["run_dir={run}", "out={run}/config.yaml"], "is a file"),
        (["run_dir={run}", "input=nowhere"], "nowhere is not a folder"),
        (["run_dir={run}", "checkpoint=other.ckpt"], "the run has best.ckpt, last.ckpt"),
        (["run_dir={run}", "seconds=0"], "seconds must be above 0"),
        (["run_dir={run}", "batch_size=1"], "batch_size must be at least 2"),
        (["run_dir={run}", "imges=3"], "images"),
    ],
)
def test_what_is_wrong_is_named(run, words, message):
    with pytest.raises(PodiumError, match=message):
        export(parse(Export, [word.format(run=run) for word in words]))


@pytest.fixture(scope="module")
def strange(wide, tmp_path_factory):
    """Files that are no exports of this version."""
    root = tmp_path_factory.mktemp("strange")
    data = (wide / "out" / "model.onnx").read_bytes()
    (root / "cut.onnx").write_bytes(data[: len(data) // 2])
    for name in ("foreign", "older"):
        model = onnx.load_from_string(data)
        kept = {prop.key: prop.value for prop in model.metadata_props if name != "foreign"}
        onnx.helper.set_model_props(model, kept | ({"version": "0"} if name == "older" else {}))
        onnx.save(model, root / f"{name}.onnx")
    return root


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run_dir=no/model.onnx", "input={out}"], "there is no file no/model.onnx"),
        (["run_dir={strange}/cut.onnx", "input={out}"], "cut.onnx cannot be loaded"),
        (["run_dir={strange}/foreign.onnx", "input={out}"], "was not written by make export"),
        (["run_dir={strange}/older.onnx", "input={out}"], "another version of Podium"),
        (["run_dir={out}/model.pt2", "input={out}"], "expected an exported file model.onnx"),
        (["run_dir={out}/model.onnx"], "name the pictures by INPUT="),
        (["run_dir={out}/model.onnx", "input=nowhere"], "no file or folder nowhere"),
        (
            ["run_dir={out}/model.onnx", "input={out}", "checkpoint=last.ckpt"],
            "checkpoint is for run folders",
        ),
        (["run_dir={out}/model.onnx", "input={out}", "data.root=x"], "data is for run folders"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(wide, strange, words, message):
    with pytest.raises(PodiumError, match=message):
        predict(parse(Predict, [word.format(strange=strange, out=wide / "out") for word in words]))
