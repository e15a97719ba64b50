"""The trial takes the fastest candidate, once for each model and machine."""

import json
import time

import pytest
import torch

from common.callbacks.freeze import Freeze
from common.model.classifier import ImageClassifier
from common.run import folder
from common.run.jobs import jobs_of
from common.train import fit, speed_probe
from common.train.job import run_job
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
    return speed_probe.choose(net, 8, torch.device("cpu"), precision, memory_format, steps, threads=1)


def test_the_choice_is_the_fastest_that_is_worth_it(monkeypatch):
    monkeypatch.setattr(speed_probe, "_computes", lambda numbers, device: True)
    monkeypatch.setattr(speed_probe, "HOPELESS", float("inf"))
    choice = choose(module())
    speeds = choice["images_per_second"]
    assert set(speeds) == {
        f"{precision} {layout}"
        for precision in ("32-true", "bf16-mixed")
        for layout in ("contiguous", "channels_last")
    }
    worth = {
        name: speed / (1 if name.startswith("32") else speed_probe.WORTH) for name, speed in speeds.items()
    }
    assert f"{choice['precision']} {choice['memory_format']}" == max(worth, key=worth.get)


def test_what_the_processor_cannot_compute_is_not_tried(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert {name.split()[0] for name in choose(module())["images_per_second"]} == {"32-true"}
    chosen = choose(module(), precision="bf16-mixed")  # by hand, all the same, and with a word about it
    assert chosen["precision"] == "bf16-mixed"
    assert "emulation" in speed_probe.described(chosen, torch.device("cpu"))


class Clock:
    """Time passes in a network's layers alone: so long in each of them, by candidate."""

    def __init__(self, seconds):
        self.now, self.seconds, self.steps = 0.0, seconds, []

    def __call__(self):
        return self.now

    def candidates(self, *names):
        return [self._candidate(*name.split()) for name in names]

    def _candidate(self, precision, layout):
        made = speed_probe.Candidate(module(), torch.device("cpu"), precision, layout)

        def layer(part, given):
            self.now += self.seconds[made.name] * len(given[0]) / len(list(made.net.modules()))

        def begins(part, given):
            self.steps.append((made.name, len(given[0])))

        made.net.register_forward_pre_hook(begins)
        for part in made.net.modules():
            part.register_forward_pre_hook(layer)
        return made


def race(clock, names, training=lambda each: 1e9, most=64, steps=3):
    return speed_probe.race(clock.candidates(*names), (1, 16, 16), most, steps, training, clock)


A, B, C, D = (
    "32-true contiguous",
    "32-true channels_last",
    "bf16-mixed contiguous",
    "bf16-mixed channels_last",
)


def test_what_is_hopeless_is_given_up_within_its_first_step():
    """B takes 50 times as long as A: it is stopped after about three times A's step."""
    clock = Clock({A: 0.01, B: 0.5, C: 0.01})
    speeds, taken = race(clock, [A, B, C])
    assert set(speeds) == {A, C} and speeds[A] == pytest.approx(100, rel=0.01)
    assert [name for name, _ in clock.steps].count(B) == 1
    images = max(count for _, count in clock.steps)
    in_a_layer = 0.5 * images / 7  # which is not interrupted
    assert taken < (2 * 4 + 3) * 0.01 * images + in_a_layer + 0.1


@pytest.mark.parametrize("each", [0.001, 0.02, 0.1, 0.5, 2.0, 30.0])  # seconds an image
def test_a_trial_takes_20_seconds_at_most_and_a_twentieth_of_the_training_or_three_seconds(each):
    for images in (100, 2_000, 1_000_000):
        clock = Clock(dict.fromkeys((A, B, C, D), each))
        speeds, taken = race(clock, [A, B, C, D], lambda one, images=images: images * one)
        allowed = min(speed_probe.MOST, max(speed_probe.ALWAYS, 0.05 * images * each))
        layer = 64 * each / 7  # what is under way is not interrupted within a layer
        assert taken <= max(allowed, speed_probe.FIRST * each) + layer
        assert A in speeds


def test_where_there_is_time_every_candidate_is_timed_as_often_as_asked():
    clock = Clock(dict.fromkeys((A, B, C, D), 0.001))
    race(clock, [A, B, C, D], steps=3)
    assert [clock.steps.count((name, 64)) for name in (A, B, C, D)] == [4] * 4


def test_the_training_is_predicted_by_the_bound_that_ends_it_first():
    bounds = {"max_epochs": None, "max_steps": None, "max_time": None, "accumulate_grad_batches": 2}
    for given, seconds in [
        ({"max_epochs": 3}, 3 * 100 * 0.5),
        ({"max_steps": 7}, 7 * 2 * 8 * 0.5),
        ({"max_time": "01:01:01:01"}, 90061),
        ({"max_epochs": 3, "max_time": "00:00:00:09"}, 9),
    ]:
        assert fit._predicted(bounds | given, 100, 0.5, 8) == seconds


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
    candidate = speed_probe.Candidate(net, torch.device("cpu"), "32-true", "contiguous")
    state = {name: value.clone() for name, value in candidate.net.state_dict().items()}
    learning = []
    candidate.net.zero_grad = lambda **_: learning.extend(
        name for name, parameter in candidate.net.named_parameters() if parameter.grad is not None
    )
    candidate.step(4, (1, 16, 16), None, time.perf_counter)
    assert learning == ["6.weight", "6.bias"]
    assert all(torch.equal(value, state[name]) for name, value in candidate.net.state_dict().items())
    assert choose(net) != whole and len(list(cache.iterdir())) == 2


def test_a_job_freezes_before_its_trial(toy, tmp_path, monkeypatch):
    seen = []

    def remember(net, *_):
        seen.extend(name for name, parameter in net.net.named_parameters() if parameter.requires_grad)
        raise KeyboardInterrupt

    monkeypatch.setattr(speed_probe, "choose", remember)
    config = toy("callbacks.freeze.modules=[backbone]")
    job = tmp_path / "run" / "jobs" / "train_fold0"
    folder.write_config(job, jobs_of(config)[0][0].config)
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    assert seen == ["6.weight", "6.bias"]


def test_a_trial_takes_no_more_images_than_it_needs(monkeypatch):
    counts = []
    plain = speed_probe.Candidate.step

    def remember(self, images, *others):
        counts.append(images)
        return plain(self, images, *others)

    monkeypatch.setattr(speed_probe.Candidate, "step", remember)
    speed_probe.choose(module(), 2048, torch.device("cpu"), "32-true", "auto", 1, threads=1)
    assert max(counts) <= 128
