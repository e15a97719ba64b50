import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.optim import SGD, lr_scheduler

import common
from common.errors import PodiumError
from common.model.schedules import (
    WARMUP_START,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseTime,
    Linear,
    OneCycle,
    Polynomial,
    Steps,
)
from common.run import components

STEPS = 50
FILES = sorted((Path(common.__file__).parents[1] / "conf/schedule").glob("*.yaml"))


def torch_factors(scheduler: type, base: float = 1.0, steps: int = STEPS, **arguments: object) -> list[float]:
    """Learning rates of torch's own scheduler at a base rate of 1, before each of `steps` + 1 steps."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    oracle = scheduler(optimizer, **arguments)
    factors = []
    for step in range(steps + 1):
        factors.append(optimizer.param_groups[0]["lr"])
        if step < steps:
            optimizer.step()
            oracle.step()
    return factors


def our_factors(schedule, steps: int = STEPS, per_epoch: int = 1) -> list[float]:
    return [schedule(step / steps, step / per_epoch) for step in range(steps + 1)]


def test_cosine_is_torchs():
    ours = our_factors(Cosine(warmup=0, final=0.1))
    assert ours == pytest.approx(torch_factors(lr_scheduler.CosineAnnealingLR, T_max=STEPS, eta_min=0.1))


@pytest.mark.parametrize("power", [0.9, 2])
def test_polynomial_is_torchs(power):
    theirs = torch_factors(lr_scheduler.PolynomialLR, total_iters=STEPS, power=power)
    assert our_factors(Polynomial(power=power)) == pytest.approx(theirs, abs=1e-12)


def test_inverse_time_is_keras_decay_by_the_step():
    """`lr * 1 / (1 + decay * iterations)`, as Keras 2's optimizers have it, at 7 steps an epoch."""
    theirs = torch_factors(lr_scheduler.LambdaLR, lr_lambda=lambda step: 1 / (1 + 5e-4 * step))
    assert our_factors(InverseTime(decay=5e-4 * 7), per_epoch=7) == pytest.approx(theirs)


def test_linear_is_torchs():
    theirs = torch_factors(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.2, total_iters=STEPS)
    assert our_factors(Linear(final=0.2)) == pytest.approx(theirs)


@pytest.mark.parametrize("steps", [20, 50, 1000])
@pytest.mark.parametrize("warmup", [0.1, 0.3])
def test_one_cycle_is_torchs(steps, warmup):
    """From the first step of a run to the last, which has the lowest rate."""
    theirs = torch_factors(
        lr_scheduler.OneCycleLR,
        max_lr=1.0,
        steps=steps - 1,
        total_steps=steps,
        pct_start=warmup,
        div_factor=25,
        final_div_factor=1e4,
    )
    ours = [OneCycle(warmup=warmup)(step / steps, 0.0, step=1 / steps) for step in range(steps)]
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("multiply", [1, 2])
def test_cosine_restarts_is_torchs(multiply):
    theirs = torch_factors(lr_scheduler.CosineAnnealingWarmRestarts, T_0=7, T_mult=multiply, eta_min=0.05)
    assert our_factors(CosineRestarts(first=7, multiply=multiply, final=0.05)) == pytest.approx(theirs)


def test_exponential_is_torchs():
    assert our_factors(Exponential(gamma=0.9)) == pytest.approx(
        torch_factors(lr_scheduler.ExponentialLR, gamma=0.9)
    )
    theirs = torch_factors(lr_scheduler.StepLR, step_size=4, gamma=0.5)
    assert our_factors(Exponential(gamma=0.5, every=4)) == pytest.approx(theirs)


def test_steps_is_torchs():
    theirs = torch_factors(lr_scheduler.MultiStepLR, milestones=[10, 30], gamma=0.1)
    assert our_factors(Steps([10, 30], [1, 0.1, 0.01], unit="epoch")) == pytest.approx(theirs)
    assert our_factors(Steps([0.2, 0.6], [1, 0.1, 0.01])) == pytest.approx(theirs)


def test_rate_by_epoch_is_constant_within_an_epoch():
    for schedule in (Exponential(0.9), Steps([2], [1, 0.1], unit="epoch")):
        ours = our_factors(schedule, steps=28, per_epoch=7)
        assert ours[:28] == [x for first in ours[:28:7] for x in [first] * 7]
        assert len(set(ours)) > 1


@pytest.mark.parametrize("unit", ["share", "epoch"])
def test_original_calligraphy_table_holds_for_its_200_epochs(unit):
    def table(epoch: float) -> float:
        for end, lr in [(20, 1e-2), (50, 1e-3), (80, 5e-4), (100, 1e-4), (200, 5e-5)]:
            if epoch < end:
                return lr
        return 1e-5

    schedule = instantiate(next(OmegaConf.load(f) for f in FILES if f.stem == "calligraphy_original"))
    if unit == "epoch":
        schedule = Steps([20, 50, 80, 100, 200], [1, 0.1, 0.05, 0.01, 0.005, 0.001], unit="epoch")
    for step in range(1999):
        assert 1e-2 * schedule(step / 2000, step / 10) == pytest.approx(table(step / 10))
    assert 1e-2 * Steps([20, 200], [1, 0.005, 0.001], unit="epoch")(1.0, 250) == pytest.approx(table(250))


every_warmed = pytest.mark.parametrize(
    "schedule",
    [
        Constant(0.2),
        Cosine(0.2),
        Linear(0.2),
        Polynomial(2, 0.2),
        Exponential(0.9, 1, 0.2),
        Steps(warmup=0.2),
    ],
    ids=lambda schedule: type(schedule).__name__,
)


@every_warmed
def test_warmup_rises_in_a_straight_line_to_the_full_rate(schedule):
    rising = [schedule(0.2 * n / 10, epoch=0.0) for n in range(11)]
    assert rising == pytest.approx([WARMUP_START + (1 - WARMUP_START) * n / 10 for n in range(11)])


@pytest.mark.parametrize("kind", [Cosine, Linear, Polynomial])
def test_what_follows_the_warmup_is_the_schedule_stretched(kind):
    warmed, plain = kind(warmup=0.2), kind(warmup=0)
    after = [warmed(0.2 + 0.8 * n / 10, 0.0) for n in range(11)]
    assert after == pytest.approx([plain(n / 10, 0.0) for n in range(11)], abs=1e-12)


@pytest.mark.parametrize("kind", [Cosine, Linear, Polynomial, OneCycle])
@settings(max_examples=30)
@given(final=st.floats(0, 1), warmup=st.floats(0.01, 0.9), progress=st.floats(0, 1))
def test_factor_ends_at_final_and_stays_between_start_and_one(kind, final, warmup, progress):
    schedule = kind(warmup=warmup, final=final)
    assert schedule(1.0, 0.0) == pytest.approx(final)
    assert min(final, WARMUP_START) - 1e-12 <= schedule(progress, 0.0) <= 1 + 1e-12


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_group_gives_plain_finite_factors(file):
    schedule = instantiate(OmegaConf.load(file))
    for step in range(-1, 202):  # a clock may show a little less or more than the run
        factor = schedule(step / 200, max(0, step))
        assert type(factor) is float
        assert math.isfinite(factor)
        assert factor >= 0
    assert all(
        type(value) in (float, int, str, list) for value in vars(schedule).values()
    )  # LambdaLR stores them


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cosine(warmup=1), r"schedule.warmup must be in \[0, 1\), a share of the run, got 1"),
        (lambda: Constant(warmup=-0.1), "schedule.warmup"),
        (lambda: Linear(final=-1), "schedule.final must be at least 0"),
        (lambda: Polynomial(power=0), "schedule.power must be above 0, got 0"),
        (lambda: OneCycle(warmup=0), "schedule.warmup must be above 0"),
        (lambda: Exponential(gamma=1.1), r"schedule.gamma must be in \(0, 1\], got 1.1"),
        (lambda: Exponential(every=0), "schedule.every"),
        (lambda: Steps([0.5], [1, 0.1], unit="steps"), 'schedule.unit must be "share" or "epoch"'),
        (lambda: Steps([20, 50], [1, 0.1, 0.01]), "schedule.boundaries must be ascending and in"),
        (
            lambda: Steps([50, 20], [1, 0.1, 0.01], unit="epoch"),
            "schedule.boundaries must be ascending and above 0",
        ),
        (
            lambda: Steps([0.5], [1, 0.1, 0.01]),
            r"schedule.factors must be one more than schedule.boundaries \(1\)",
        ),
        (lambda: Steps([0.5], [1, -0.1]), "schedule.factors must be at least 0"),
        (lambda: CosineRestarts(first=0), "schedule.first"),
        (lambda: CosineRestarts(multiply=0.5), "schedule.multiply must be at least 1, got 0.5"),
    ],
)
def test_bad_setting_is_named(build, message):
    with pytest.raises(PodiumError, match=message):
        build()


def rise(step: int, steps: float) -> float:
    return min(1.0, WARMUP_START + (1 - WARMUP_START) * step / steps)


FORTY = {  # of a run of forty steps in ten epochs, written down once more by other means
    "calligraphy_original": lambda n: (
        1.0 if n < 4 else 0.1 if n < 10 else 0.05 if n < 16 else 0.01 if n < 20 else 0.005
    ),
    "constant": lambda n: 1.0,
    "cosine": lambda n: rise(n, 2) * (1 + math.cos(math.pi * max(0, n - 2) / 38)) / 2,
    "cosine_restarts": lambda n: (1 + math.cos(math.pi * n / 40)) / 2,
    "exponential": lambda n: 0.9 ** (n // 4),
    "inverse_time": lambda n: 1 / (1 + 0.1 * n / 4),
    "linear": lambda n: 1 - n / 40,
    "onecycle": lambda n: ONE_CYCLE[n],
    "polynomial": lambda n: (1 - n / 40) ** 0.9,
    "steps": lambda n: 1.0 if n < 20 else 0.1 if n < 30 else 0.01,
}
ONE_CYCLE = torch_factors(
    lr_scheduler.OneCycleLR, max_lr=1.0, steps=39, total_steps=40, div_factor=25, final_div_factor=1e4
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_group_gives_forty_steps_the_rates_of_its_reference(file):
    schedule = instantiate(OmegaConf.load(file))
    by_step = {"step": 1 / 40} if file.stem == "onecycle" else {}
    rates = [schedule(n / 40, n / 4, **by_step) for n in range(40)]
    assert rates == pytest.approx([FORTY[file.stem](n) for n in range(40)], abs=1e-9)


class Rates(pl.Callback):
    """What each step of a training is taken by, and where it stands."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        rates = {group["lr"] for group in optimizer.param_groups}
        self.seen.append((*rates, *pl_module.progress()))


def test_a_training_takes_its_steps_by_these_rates(toy, tmp_path):
    config = toy("schedule=onecycle", "optimizer.lr=0.01", "trainer.max_epochs=10")
    data, rates = components.make_data(config, tmp_path / "run"), Rates()
    data.setup()
    trainer = pl.Trainer(
        max_epochs=10, accelerator="cpu", callbacks=[rates], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    module = components.make_module(config, data)
    asked = []

    def counted(progress: float, epoch: float, step: float = 0.0) -> float:
        asked.append(progress)
        return schedule(progress, epoch, step)

    schedule, module.schedule = module.schedule, counted
    trainer.fit(module, datamodule=data)
    steps = trainer.global_step
    groups = trainer.optimizers[0].param_groups
    assert len(groups) == 2 and len(asked) == steps + 1  # once a step, however many groups there are
    theirs = torch_factors(
        lr_scheduler.OneCycleLR,
        0.01,
        steps - 1,
        max_lr=0.01,
        total_steps=steps,
        div_factor=25,
        final_div_factor=1e4,
    )
    found, shares, epochs = zip(*rates.seen, strict=True)
    assert found == pytest.approx(theirs, rel=1e-6)
    assert shares == pytest.approx([n / steps for n in range(steps)])
    assert epochs == pytest.approx([10 * n / steps for n in range(steps)])
