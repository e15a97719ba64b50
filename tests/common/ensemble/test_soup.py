"""Soups: the mean of weights, statistics that fit it, and which ingredients a greedy one keeps."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from common.config.options import parse
from common.data import predictions
from common.ensemble.blend import Blend, blend
from common.ensemble.soup import average, check_alike, recalibrate, training_images
from common.errors import PodiumError
from common.run import folder
from common.run.components import load_module, make_data
from common.run.members import read_members
from common.run.predict_rows import predict_rows
from common.task.scores import topk_accuracy
from common.train.train import train
from tests.toys import TinyNet, random_images


def tiny(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return TinyNet(num_classes=3, in_channels=1, image_size=(6, 6))


def test_a_soup_of_identical_weights_is_these_weights_bit_for_bit():
    state = tiny(0).state_dict()
    state["1.num_batches_tracked"].fill_(7)
    for count in (1, 2, 3, 7):
        cooked = average([state] * count)
        assert list(cooked) == list(state)
        assert all(
            torch.equal(cooked[key], state[key]) and cooked[key].dtype == state[key].dtype for key in state
        )


def test_floats_are_averaged_in_double_precision_and_counters_copied():
    states = [tiny(seed).state_dict() for seed in range(3)]
    for number, state in enumerate(states):
        state["1.num_batches_tracked"].fill_(10 + number)
    cooked = average(states)
    assert cooked["1.num_batches_tracked"].item() == 10
    weights = np.stack([state["0.weight"].numpy().astype(np.float64) for state in states])
    np.testing.assert_array_equal(cooked["0.weight"].numpy(), weights.mean(axis=0).astype(np.float32))
    small = [
        {"w": torch.tensor([1e8, 1.0])},
        {"w": torch.tensor([-1e8, 1.0])},
        {"w": torch.tensor([1.0, 1.0])},
    ]
    assert average(small)["w"][0].item() == pytest.approx(1 / 3)


def test_statistics_are_those_of_the_batches():
    """Of a first layer they can be computed by hand; torch's own update is a second oracle, without dropout."""
    net, batches = (
        nn.Sequential(nn.BatchNorm2d(1), tiny(0)),
        [random_images(5, seed=seed) for seed in range(4)],
    )
    recalibrate(net, batches)
    assert net[0].running_mean.item() == pytest.approx(np.mean([batch.mean() for batch in batches]), rel=1e-5)
    assert net[0].running_var.item() == pytest.approx(np.mean([batch.var() for batch in batches]), rel=1e-5)
    assert net[0].momentum == 0.1 and not any(part.training for part in net.modules())
    expected = nn.Sequential(nn.BatchNorm2d(1), tiny(0))
    expected[1][5].p = 0.0
    update_bn(batches, expected)
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value)


def test_layers_without_statistics_stay_as_they_are():
    net = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False))
    recalibrate(net, [random_images(3)])
    assert net[0].running_mean is None


def test_the_first_difference_of_two_models_is_named():
    same = {"hyper_parameters": {"class_names": ["a"], "preprocessing": {"size": [6, 6]}}}
    one = {"state_dict": tiny(0).state_dict(), **same}
    wide = TinyNet(num_classes=3, in_channels=1, image_size=(6, 6), width=4).state_dict()
    with pytest.raises(
        PodiumError, match=r"x and y are .*: 0\.weight is \(8, 1, 3, 3\) in one and \(4, 1, 3, 3\)"
    ):
        check_alike(one, {"state_dict": wide, **same}, "x and y")
    with pytest.raises(PodiumError, match=r"more is missing in one and \(1,\)"):
        check_alike(one, {"state_dict": {**one["state_dict"], "more": torch.zeros(1)}, **same}, "x and y")
    other = {"class_names": ["a"], "preprocessing": {"size": [7, 7]}}
    with pytest.raises(PodiumError, match="x and y differ in preprocessing"):
        check_alike(one, {**one, "hyper_parameters": other}, "x and y")
    check_alike(one, one, "x and y")


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    run = tmp_path_factory.mktemp("soup") / "run"
    train(
        toy_module(
            "data.choose=0.2",
            "data.score=0.2",
            "optimizer.lr=0.03",
            "trainer.max_epochs=15",
            f"run_dir={run}",
        )
    )
    return run


def edited(run, to, edit):
    """A copy of the run whose weights were edited; predicted anew, as a job would."""
    shutil.copytree(run, to)
    job = to / "jobs" / "train_fold0"
    checkpoint = torch.load(job / "best.ckpt", weights_only=True)
    edit(checkpoint["state_dict"])
    torch.save(checkpoint, job / "best.ckpt")
    config = folder.load_config(job)
    data = make_data(config, to)
    data.setup()
    for part in ("valid", "choose", "score"):
        name = "predictions.parquet" if part == "valid" else f"predictions_{part}.parquet"
        rows = data.rows(part)
        table = data.table.iloc[rows]
        found = predict_rows(load_module(config, job / "best.ckpt"), data, rows, "cpu")
        predictions.write(job / name, table["id"].tolist(), table["label"].to_numpy(), found)
    return to


def cooked(runs, out, how):
    named = ",".join(str(run) for run in runs)
    return blend(parse(Blend, [f"run_dir='{named}'", f"out={out}", f"soup={how}", "max=1"]))


def test_a_soup_of_copies_is_the_model_itself_and_loads_like_any(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    out = cooked([run, tmp_path / "copy"], tmp_path / "blend", "uniform")
    path = out / "jobs" / "soup_fold0" / "best.ckpt"
    one, soup = (
        torch.load(checkpoint, weights_only=True)["state_dict"]
        for checkpoint in (run / "jobs" / "train_fold0" / "best.ckpt", path)
    )
    assert list(one) == list(soup) and all(torch.equal(one[key], soup[key]) for key in one)
    module = load_module(folder.load_config(path.parent), path)
    assert not module.training and module.class_names == ["bar", "cross", "ring", "slash"]
    own = run / "jobs" / "train_fold0" / "predictions_choose.parquet"
    (frame, rows), (expected, like) = predictions.read(path.with_name(own.name)), predictions.read(own)
    assert frame.equals(expected)
    np.testing.assert_allclose(rows, like, rtol=1e-5)
    names = [row["name"] for row in json.loads((out / "blend.json").read_text())["candidates"]]
    assert names == ["run/train_fold0", "copy/train_fold0", "blend/soup_fold0"]


def shake(state):
    generator = torch.Generator().manual_seed(1)
    for key, value in state.items():
        if "net.0" in key:
            value += 0.2 * torch.randn(value.shape, generator=generator)


def test_a_soup_of_different_models_gets_statistics_of_its_own(run, tmp_path):
    """Weights are the mean; BatchNorm's statistics are those of the plain training images under these weights."""

    def shift(state):
        shake(state)
        state["net.1.running_mean"] += 1

    first = tmp_path / "first"
    shutil.copytree(run, first)
    config = folder.load_config(first / "jobs" / "train_fold0")
    config["data"]["batch_size"] = 1000  # all in one batch, so that the statistics are exactly those of all
    folder.write_config(first / "jobs" / "train_fold0", config)
    out = cooked([first, edited(run, tmp_path / "other", shift)], tmp_path / "blend", "uniform")
    job = out / "jobs" / "soup_fold0"
    states = [
        torch.load(path / "best.ckpt", weights_only=True)["state_dict"]
        for path in (job, run / "jobs" / "train_fold0", tmp_path / "other" / "jobs" / "train_fold0")
    ]
    torch.testing.assert_close(
        states[0]["net.0.weight"], (states[1]["net.0.weight"] + states[2]["net.0.weight"]) / 2
    )
    module = load_module(folder.load_config(job), job / "best.ckpt")
    data = make_data(folder.load_config(job), out)
    data.setup()
    images = np.stack([data.pixels[int(row)] for row in data.rows("train")]).transpose(0, 3, 1, 2)
    before = module.net[0](
        (torch.from_numpy(images) / 255 - module.mean) / module.std
    )  # what the BatchNorm sees
    mean, variance = before.mean(dim=(0, 2, 3)), before.var(dim=(0, 2, 3))
    torch.testing.assert_close(states[0]["net.1.running_mean"], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(states[0]["net.1.running_var"], variance, rtol=1e-4, atol=1e-5)


def test_training_images_come_once_and_mixed(run):
    config = folder.load_config(run / "jobs" / "train_fold0")
    data = make_data(config, run)
    data.setup()
    data.batch_size = 4  # as the table has them, a batch would be of one class
    label_of = {data.pixels[row].tobytes(): data.table["label"][row] for row in range(len(data.table))}
    batches = [(255 * batch).round().to(torch.uint8).numpy() for batch in training_images(data, seed=0)]
    seen = [[label_of[image.transpose(1, 2, 0).tobytes()] for image in batch] for batch in batches]
    trained_on = data.table["label"].iloc[data.rows("train")]
    assert sorted(label for labels in seen for label in labels) == sorted(trained_on)
    assert len({image.tobytes() for batch in batches for image in batch}) == len(trained_on)
    assert max(map(len, seen)) - min(map(len, seen)) <= 1
    assert all(len(set(labels)) > 1 for labels in seen)


def test_a_greedy_soup_leaves_out_what_spoils_it(run, tmp_path):
    def spoil(state):
        for key, value in state.items():
            if key == "net.6.weight":
                value.mul_(-3)

    spoiled = edited(run, tmp_path / "spoiled", spoil)
    shutil.copytree(run, tmp_path / "copy")
    out = cooked([spoiled, run, tmp_path / "copy"], tmp_path / "blend", "greedy")
    known = json.loads((out / "blend.json").read_text())
    assert known["soup"] == ["run/train_fold0", "copy/train_fold0"]
    alone = known["candidates"]
    assert alone[3]["choose"] == pytest.approx(alone[1]["choose"], rel=1e-4)
    assert alone[0]["choose"]["top1"] < alone[1]["choose"]["top1"]


def test_a_chosen_soup_is_a_member_in_the_blends_own_folder(run, tmp_path):
    """Two models that say little, each leaning its own way: their mean is right, so the soup is chosen."""

    def lean(sign):
        def edit(state):
            noise = torch.randn(state["net.6.weight"].shape, generator=torch.Generator().manual_seed(0))
            state["net.6.weight"] += sign * 3 * noise

        return edit

    pair = [edited(run, tmp_path / name, lean(sign)) for name, sign in (("plus", 1), ("minus", -1))]
    out = cooked(pair, tmp_path / "blend", "uniform")
    _, members = read_members(out)
    assert [member.job for member in members] == [out / "jobs" / "soup_fold0"]
    assert json.loads((out / "members.json").read_text())["members"][0]["job"] == "jobs/soup_fold0"
    frame, rows = predictions.read(out / "jobs" / "soup_fold0" / "predictions_score.parquet")
    known = json.loads((out / "blend.json").read_text())
    assert known["parts"]["score"]["top1"] == topk_accuracy(rows, frame["label"].to_numpy(), 1)
