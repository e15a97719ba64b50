"""The trial takes the fastest candidate, once for each model and machine."""

import json

import pytest
import torch

from common.callbacks.freeze import Freeze
from common.model.classifier import ImageClassifier
from common.run import folder, trial
from common.run.job import run_job
from common.run.stages import jobs_of
from tests.toys import CLASSES


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "podium" / "trials"


def module(width=8):
    return ImageClassifier(
        model={"_target_": "tests.toys.TinyNet", "width": width},
        loss={"_target_": "common.model.losses.CrossEntropy"},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.1},
        schedule=None,
        class_names=CLASSES,
        preprocessing={
            "size": [16, 16],
            "channels": 1,
            "fit": "stretch",
            "pad_value": 0,
            "interpolation": "area",
        },
    )


def choose(net, precision=None, memory_format="auto", steps=2):
    return trial.choose(net, 8, torch.device("cpu"), precision, memory_format, steps, threads=1)


def test_the_choice_is_the_fastest_that_is_worth_it():
    choice = choose(module())
    speeds = choice["images_per_second"]
    assert set(speeds) == {
        f"{precision} {layout}"
        for precision in ("32-true", "bf16-mixed")
        for layout in ("contiguous", "channels_last")
    }
    worth = {name: speed / (1 if name.startswith("32") else trial.WORTH) for name, speed in speeds.items()}
    assert f"{choice['precision']} {choice['memory_format']}" == max(worth, key=worth.get)


def test_the_model_is_not_trained_and_an_earlier_trial_is_recalled(cache):
    net = module()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = choose(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert choose(net) == first  # timings never repeat to the digit
    (kept,) = cache.iterdir()
    kept.write_text(json.dumps({**first, "precision": "recalled"}))
    assert choose(net)["precision"] == "recalled"
    assert choose(module(width=4))["precision"] != "recalled"


def test_what_the_user_fixes_is_not_tried():
    assert choose(module(), precision="64-true", memory_format="contiguous")["images_per_second"] == {}
    assert {name.split()[0] for name in choose(module(), precision="32-true")["images_per_second"]} == {
        "32-true"
    }
    off = choose(module(), steps=0)
    assert (off["precision"], off["memory_format"], off["images_per_second"]) == (
        "32-true",
        "channels_last",
        {},
    )


def test_what_is_frozen_is_not_timed_as_if_it_learned(cache):
    """No gradients, no change of mode, and another trial than that of the network that learns."""
    net = module()
    whole = choose(net)
    Freeze(["backbone"]).set_learning(net, False)
    candidate = trial.Candidate(net, (4, 1, 16, 16), torch.device("cpu"), "32-true", "contiguous")
    state = {name: value.clone() for name, value in candidate.net.state_dict().items()}
    learning = []
    candidate.net.zero_grad = lambda **_: learning.extend(
        name for name, parameter in candidate.net.named_parameters() if parameter.grad is not None
    )
    candidate.step()
    assert learning == ["6.weight", "6.bias"]
    assert all(torch.equal(value, state[name]) for name, value in candidate.net.state_dict().items())
    assert choose(net) != whole and len(list(cache.iterdir())) == 2


def test_a_job_freezes_before_its_trial(toy, tmp_path, monkeypatch):
    seen = []

    def remember(net, *_):
        seen.extend(name for name, parameter in net.net.named_parameters() if parameter.requires_grad)
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "choose", remember)
    config = toy("callbacks.freeze.modules=[backbone]")
    job = tmp_path / "run" / "jobs" / "train_fold0"
    folder.write_config(job, jobs_of(config)[0][0].config)
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    assert seen == ["6.weight", "6.bias"]


def test_a_trial_takes_no_more_images_than_it_needs(monkeypatch):
    shapes = []
    plain = trial.Candidate.__init__

    def remember(self, net, shape, *others):
        shapes.append(shape)
        plain(self, net, shape, *others)

    monkeypatch.setattr(trial.Candidate, "__init__", remember)
    trial.choose(module(), 2048, torch.device("cpu"), "32-true", "auto", 1, threads=1)
    assert shapes == [(128, 1, 16, 16)] * 2
