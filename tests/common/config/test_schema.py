"""Ranges of the typed root, and options of verbs."""

from dataclasses import dataclass, field

import pytest
from omegaconf import MISSING, OmegaConf

from common.config.options import parse
from common.config.schema import Page, Root, Trainer
from common.config.show import plan
from common.config.typed import typed
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf

PART = {"_target_": "a.B"}
LEAST = {"competition": "c", "data": PART, "module": PART, "model": PART, "loss": PART, "optimizer": PART}


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("accelerator", ["auto", "cpu", "gpu"], ["GPU", ""]),
        ("devices", ["auto", 1, 8, -1, [0, 2]], [0, -2, "two", [], [-1], True, None, 1.5]),
        ("num_nodes", [1, 4], [0, -1]),
        ("precision", [None, "32-true", "bf16-mixed"], ["bf17", "mixed"]),
        ("memory_format", ["auto", "channels_last", "contiguous"], ["nhwc"]),
        ("threads", [None, 1, 64], [0, -1]),
        ("max_epochs", [1, 1000], [0, -1]),
        ("max_steps", [None, 1], [0, -1]),
        ("max_time", [None, "00:00:10:00", "12:23:59:59"], ["10:00", "00:24:00:00", "0:0:0:1"]),
        ("fast_dev_run", [True, False, 2], [-1]),
        ("limit_train_batches", [None, 1, 10, 0.5, 1.0], [0, -1, 0.0, 1.5, -0.5]),
        ("limit_val_batches", [None, 0, 10, 0.5], [-1, 1.5]),
        ("val_check_interval", [None, 1, 0.25], [0, 1.5]),
        ("check_val_every_n_epoch", [1], [0]),
        ("gradient_clip_val", [None, 0.5], [0, -1, float("nan")]),
        ("gradient_clip_algorithm", ["norm", "value"], ["max"]),
        ("accumulate_grad_batches", [1, 4], [0]),
        ("deterministic", [True, False, "warn"], ["yes"]),
        ("log_every_n_steps", [1], [0]),
        ("num_sanity_val_steps", [0, 2, -1], [-2]),
        ("save_every_seconds", [0.5, 60], [0, -1]),
    ],
)  # fmt: skip
def test_each_trainer_key_has_its_range(key: str, right: list[object], wrong: list[object]) -> None:
    for value in right:
        assert getattr(Trainer(**{key: value}), key) == value  # type: ignore[arg-type]
    for value in wrong:
        with pytest.raises(PodiumError, match=rf"trainer\.{key} must be "):
            Trainer(**{key: value})  # type: ignore[arg-type]


def test_ranges_are_checked_whenever_a_configuration_is_typed() -> None:
    with pytest.raises(PodiumError, match=r"trainer.threads must be at least 1 or null, got 0"):
        typed({**LEAST, "trainer": {"max_epochs": 1, "threads": 0}})
    with pytest.raises(PodiumError, match=r"somewhere: trial.steps must be at least 1, got 0"):
        typed({**LEAST, "trainer": {"max_epochs": 1}, "trial": {"steps": 0}}, sources={"trial": "somewhere"})


def test_every_part_that_training_needs_must_be_there() -> None:
    for name in ("data", "module", "model", "loss", "optimizer"):
        with pytest.raises(PodiumError, match=f"{name} must be a component with _target_"):
            typed({**LEAST, "trainer": {"max_epochs": 1}, name: {}})


def test_the_first_metric_of_best_keeps_its_place() -> None:
    best = {"valid_top5": "max", "valid_loss": "min", "valid_top1": "max"}
    assert list(typed({**LEAST, "trainer": {"max_epochs": 1}, "best": best}).best) == list(best)
    with pytest.raises(PodiumError, match="best must name at least one metric"):
        typed({**LEAST, "trainer": {"max_epochs": 1}, "best": {}})


@pytest.mark.parametrize("width", [0, -0.1, 0.6])
def test_a_brush_is_narrower_than_half_the_paper(width: float) -> None:
    assert Page(draw=True, brush=0.5).brush == 0.5
    with pytest.raises(PodiumError, match=r"page\.brush must be in \(0, 0\.5\]"):
        typed({**LEAST, "trainer": {"max_epochs": 1}, "page": {"brush": width}})


def test_defaults_of_the_schema_are_in_range() -> None:
    assert Root(**LEAST, trainer=Trainer(max_epochs=1)).seed == 0  # type: ignore[arg-type]


# Options of verbs ----------------------------------------------------------------


@dataclass
class Where:
    out: str = "out.csv"


@dataclass
class Predict:
    run: str = MISSING
    images: str | None = None
    top: int = 1
    where: Where = field(default_factory=Where)

    def __post_init__(self) -> None:
        if self.top < 1:
            raise PodiumError(f"top must be at least 1, got {self.top}")


def test_options_are_an_instance_of_their_dataclass() -> None:
    assert parse(Predict, ["run=runs/a", "images=/图片/a b", "where.out=b.csv", "top=5"]) == Predict(
        "runs/a", "/图片/a b", 5, Where("b.csv")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no value for run: give run=…"),
        (["run=a", "imags=b"], "there is no key imags; did you mean images?"),
        (["run=a", "where.output=b"], "there is no key where.output; did you mean where.out?"),
        (["run=a", "out=b"], "there is no key out; did you mean where.out?"),
        (["run=a", "top=many"], 'top must be an int, got "many"'),
        (["run=a", "top=0"], "top must be at least 1, got 0"),
        (["run=a", "where=3"], "where must be a dictionary, got 3"),
        (["run=a", "~top"], "~top: options are given as key=value"),
        (["run"], '"run" is not of the form key=value'),
        (["run=a", "top=1,2"], "top=1,2 gives several values"),
    ],
)
def test_a_wrong_option_is_named(words: list[str], message: str) -> None:
    with pytest.raises(PodiumError) as caught:
        parse(Predict, words)
    assert str(caught.value).startswith(message)


# The plan ----------------------------------------------------------------


def test_the_plan_names_the_choices_and_is_yaml_that_composes_again(conf: Conf) -> None:
    conf.write("experiment/hard", "callbacks: {ohem: {keep: 0.3}}")
    config = conf.compose("experiment=hard", "loss=focal", "data.root=/数据", "schedule=null")
    text = plan(config)
    head = text.split("\n\n")[0]
    assert [line.split()[1:] for line in head.splitlines()] == [
        ["competition", "brush"],
        ["experiment", "hard"],
        ["data", "paper.parts.BrushData"],
        ["module", "paper.parts.Module"],
        ["model", "small", "paper.parts.Net"],
        ["loss", "focal", "paper.parts.Focal"],
        ["optimizer", "adam", "paper.parts.Adam"],
        ["views", "none"],
        ["trainer", "auto"],
        ["callbacks", "ohem"],
        ["logger", "none"],
    ]
    assert "root: /数据" in text
    assert typed(OmegaConf.to_container(OmegaConf.create(text))) == config  # type: ignore[arg-type]
