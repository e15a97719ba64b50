"""Parts against the code they name."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent

import pytest

from common.config import source
from common.config.check import check, parts
from common.config.configure import configure
from common.config.layers import CONF, search_path
from common.config.show import plan
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf

PARTS = """
    from dataclasses import dataclass
    from typing import Literal

    class Base:
        def __init__(self, *, seed: int, views: dict, folder: str, batch_size: int = 8): ...

    class Data(Base):
        def __init__(self, size: list[int] = [8, 8], root: str = "", **kwargs):
            super().__init__(**kwargs)

    class BrushData(Data): pass

    class Module:
        def __init__(self, model, loss, optimizer, schedule, class_names, preprocessing, seed=0): ...

    class Net:
        def __init__(self, width: int, *, num_classes, in_channels, image_size, pretrained: bool | None = None): ...

    class CrossEntropy:
        def __init__(self, smoothing: float = 0.0): ...

    @dataclass
    class Focal:
        gamma: float = 2.0
        mode: Literal["sigmoid", "softmax"] = "softmax"

    class Adam:
        def __init__(self, params, lr: float = 1e-3): ...

    @dataclass
    class Cosine:
        warmup: float

    class OHEM:
        def __init__(self, keep: float, start: int = 0): ...

    class Flip:
        def __init__(self, p: float): ...

    class Mixup:
        def __init__(self, alpha: float, share: float = 1.0): ...

    class Board:
        def __init__(self, save_dir): ...
"""


@pytest.fixture
def toys(conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that composes and checks a configuration whose parts are the toys above."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "parts.py").write_text(dedent(PARTS))
    for cached in (source.find_module, source._attribute, source._read, source._tree):
        cached.cache_clear()
    return lambda *words: configure(["--config-dir", str(conf.folder), "competition=brush", *words])


def test_a_right_configuration_passes(toys) -> None:
    words = ["views=flips", "callbacks.ohem={}", "logger.tensorboard={}", "loss=focal", "loss.gamma=3"]
    assert toys(*words, "data.batch_size=4").loss == {"_target_": "toys.parts.Focal", "gamma": 3}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.size=224px", 'command line: data.size must be a list of int, got "224px"'),
        ("data.size=[1,b]", 'command line: data.size must be a list of int, got [1, "b"]'),
        ("data.batch_siz=4", "command line: there is no key data.batch_siz; did you mean data.batch_size?"),
        ("data.zzz=4", "command line: there is no key data.zzz; toys.parts.BrushData takes batch_size, size, root"),
        ("data.seed=4", "command line: data.seed is passed by Podium itself and cannot be configured"),
        ("loss.smoothing=true", "command line: loss.smoothing must be a number, got true"),
        ("loss={_target_: toys.parts.Focal, smoothing: 0, mode: x}", 'command line: there is no key loss.smoothing; toys.parts.Focal takes gamma, mode\ncommand line: loss.mode must be "sigmoid" or "softmax", got "x"'),
        ("~model.width", "conf/model/small.yaml: model.width is missing: toys.parts.Net requires it (an int)"),
        ("model.pretrained=1", "command line: model.pretrained must be true or false or null, got 1"),
        ("model._target_=toys.parts.Adam", "command line: model._target_=toys.parts.Adam does not take num_classes, in_channels, image_size, which Podium passes"),
        ("module._target_=toys.parts.Modul", 'command line: module._target_=toys.parts.Modul: there is no "Modul" in toys.parts (did you mean Module?)'),
        ("module._target_=3", "command line: module._target_ must be a dotted path such as package.module.Name, got 3"),
        ("callbacks.ohem.keap=1", "command line: there is no key callbacks.ohem.keap; did you mean callbacks.ohem.keep?"),
        ("callbacks.ohem={keep: 1, start: 0.5}", "command line: callbacks.ohem.start must be an int, got 0.5"),
        ("callbacks.freeze={}", 'conf/callbacks/freeze.yaml: callbacks.freeze._target_=toys.parts.Freeze: there is no "Freeze" in toys.parts'),
        ("views.image=[{_target_: toys.parts.Flip, q: 1}]", "command line: there is no key views.image.0.q; toys.parts.Flip takes p"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_part_is_named(toys, word: str, message: str) -> None:
    with pytest.raises(PodiumError) as caught:
        toys(word)
    assert str(caught.value).startswith(message) or message in str(caught.value).splitlines()


def test_all_mistakes_are_told_at_once(toys) -> None:
    with pytest.raises(PodiumError) as caught:
        toys("data.size=3", "loss.gamma=1", "optimizer.lr=x")
    assert len(str(caught.value).splitlines()) == 3


def test_the_optimizers_builder_has_keys_of_its_own(toys) -> None:
    toys("optimizer.backbone_lr_scale=0.1", "optimizer.no_decay_norm_and_bias=false")
    with pytest.raises(
        PodiumError, match=r"optimizer.backbone_lr_scal; did you mean optimizer.backbone_lr_scale\?"
    ):
        toys("optimizer.backbone_lr_scal=0.1")


def test_what_podium_fills_in_may_be_null_or_left_out(toys) -> None:
    assert toys("data.root=null").data.root is None
    with pytest.raises(PodiumError, match="data.size must be a list of int, got null"):
        toys("data.size=null")


def test_a_part_that_is_called_later_need_not_be_complete(toys) -> None:
    toys("model.pretrained={_target_: toys.parts.OHEM, _partial_: true}")
    with pytest.raises(PodiumError, match=r"model.pretrained.keep is missing"):
        toys("model.pretrained={_target_: toys.parts.OHEM}")


def test_parts_are_found_at_any_depth() -> None:
    tree = {"a": {"_target_": "x.A", "b": [{"c": {"_target_": "x.C"}}]}, "d": None, "e": 3}
    assert [at for at, _ in parts(tree)] == ["a", "a.b.0.c"]


def test_a_missing_optional_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from common.config import check as module

    monkeypatch.setitem(module.NEEDS, "pytorch_lightning.loggers.WandbLogger", "no_such_package")
    with pytest.raises(
        PodiumError, match=r"logger.wandb needs the package no_such_package, .* pip install no_such"
    ):
        check({"logger": {"wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger"}}})


def test_torch_is_not_imported_to_compose_check_and_show() -> None:
    competition = search_path([]).options("competition")[0]
    code = f"""
        import sys, common
        from common.config import configure, options, show
        show.plan(configure.configure(["competition={competition}"]))
        print([name for name in ("torch", "numpy", "cv2", "pandas", "imgaug") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What ships -----------------------------------------------------------------------------------------------------


def combinations() -> Iterator[list[str]]:
    """Words that together choose every option of every group once, with the first competition."""
    path = search_path([])
    groups = ("model", "loss", "optimizer", "schedule", "views", "trainer")
    yield from (
        [f"{group}={option}" for group, option in zip(groups, chosen, strict=True) if option]
        for chosen in zip_longest(*map(path.options, groups))
    )


@pytest.mark.parametrize("words", combinations(), ids=" ".join)
def test_every_option_that_ships_fits_the_code(words: list[str]) -> None:
    competition = search_path([]).options("competition")[0]
    assert plan(configure([f"competition={competition}", *words]))


@pytest.mark.parametrize("name", search_path([]).options("competition"))
def test_every_competition_that_ships_fits_the_code(name: str) -> None:
    assert configure([f"competition={name}"]).competition == name


@pytest.mark.parametrize("name", search_path([]).options("experiment"))
def test_every_experiment_that_ships_fits_the_code(name: str) -> None:
    assert configure([f"experiment={name}"]).experiment == [name]


def test_every_named_part_that_ships_fits_the_code() -> None:
    path = search_path([])
    competition = path.options("competition")[0]
    for shelf in ("callbacks", "logger", "views/batch"):
        for name in path.options(shelf):
            part = source_of(shelf, name)
            missing = [
                f"{shelf.replace('/', '.')}.{name}.{key}={{}}"
                for key, value in part.items()
                if value == "???"
            ]
            try:
                configure([f"competition={competition}", f"{shelf.replace('/', '.')}.{name}={{}}", *missing])
            except PodiumError as error:
                assert "needs the package" in str(error)  # optional, and not installed here


def source_of(shelf: str, name: str) -> dict[str, object]:
    from common.config.layers import read_yaml

    return read_yaml(CONF / shelf / f"{name}.yaml")
