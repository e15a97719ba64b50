"""Parts against the code they name."""

# ruff: noqa: E501  (tables of words and messages)

import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent

import pytest

from common.config.check import PASSED, check, half_parts, part_problems, parts
from common.config.configure import configure
from common.config.layers import CLI, Layer, read_yaml, search_path
from common.config.merge import Merged
from common.config.overrides import nested, parse
from common.config.show import plan
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf

PARTS = """
    from dataclasses import dataclass
    from typing import Literal

    class Base:
        def __init__(self, *, seed: int, views: dict, folder: str, folds: int, fold: int, taught: str,
                     cleaned: str, packs: str, copies_folder: str,
                     batch_size: int = 8): ...

    class Data(Base):
        def __init__(self, size: list[int] = [8, 8], root: str = "", **kwargs):
            super().__init__(**kwargs)

    class BrushData(Data): pass

    class Module:
        def __init__(self, model, loss, optimizer, schedule, class_names, preprocessing, levels=(), seed=0): ...

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


CORRECT = {
    "data": {"_target_": "paper.parts.BrushData", "size": [32, 32], "batch_size": 4},
    "module": {"_target_": "paper.parts.Module"},
    "model": {"_target_": "paper.parts.Net", "width": 8},
    "loss": {"_target_": "paper.parts.Focal", "gamma": 3, "mode": "sigmoid"},
    "optimizer": {"_target_": "paper.parts.Adam", "lr": 0.1},
    "schedule": {"_target_": "paper.parts.Cosine", "warmup": 0},
    "views": {"image": [], "batch": {"mixup": {"_target_": "paper.parts.Mixup", "alpha": 1}, "noise": None}},
    "callbacks": {"ohem": {"_target_": "paper.parts.OHEM", "keep": 0.5}, "freeze": None},
    "logger": {"tensorboard": {"_target_": "paper.parts.Board"}},
}


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module paper.parts, importable for the test."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "parts.py").write_text(dedent(PARTS))
    for name in ("paper", "paper.parts"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def mistakes(*words: str) -> list[str]:
    """What is wrong with the correct configuration after these words: one line each."""
    values = Merged(search_path([]))
    for layer in (Layer("", values=CORRECT), Layer(CLI, values=nested(parse(words)))):
        values.add(layer)
    try:
        check(values.values)
    except PodiumError as error:
        return str(error).splitlines()
    return []


def test_a_misspelt_view_is_named() -> None:
    views = {"left": {"_target_": "paper.parts.Flip", "p": 1}, "none": None}
    values = {"callbacks": {"tta": {"_target_": "paper.parts.TTA", "views": views | {"lefft": {"p": 1}}}}}
    assert list(half_parts(values)) == [("callbacks.tta.views.lefft", " (did you mean left?)")]
    whole = {"callbacks": {"tta": {"_target_": "paper.parts.TTA", "views": views, "weights": {"left": 1}}}}
    assert list(half_parts(whole)) == []


def test_a_right_configuration_passes() -> None:
    assert mistakes() == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.size=224px", 'data.size must be a list of int, got "224px"'),
        ("data.size=[1,b]", 'data.size must be a list of int, got [1, "b"]'),
        ("data.size=null", "data.size must be a list of int, got null"),
        ("data.batch_siz=4", "there is no key data.batch_siz; did you mean data.batch_size?"),
        ("data.zzz=4", "there is no key data.zzz; paper.parts.BrushData takes batch_size, size, root"),
        ("data.seed=4", "data.seed is passed by Podium itself and cannot be configured"),
        ("loss.gamma=true", "loss.gamma must be a number, got true"),
        ("loss.mode=x", 'loss.mode must be "sigmoid" or "softmax", got "x"'),
        ("~model.width", "model.width is missing: paper.parts.Net requires it (an int)"),
        ("model.pretrained=1", "model.pretrained must be true or false or null, got 1"),
        ("model={_target_: paper.parts.Adam, width: 8}", "there is no key model.width; paper.parts.Adam takes params, lr"),
        ("model={_target_: paper.parts.Adam, width: 8}", "model._target_=paper.parts.Adam does not take num_classes, in_channels, image_size, which Podium passes"),
        ("module._target_=paper.parts.Modul", 'module._target_=paper.parts.Modul: there is no "Modul" in paper.parts (did you mean Module?)'),
        ("module._target_=3", "module._target_ must be a dotted path such as package.module.Name, got 3"),
        ("callbacks.ohem.keap=1", "there is no key callbacks.ohem.keap; did you mean callbacks.ohem.keep?"),
        ("callbacks.ohem.start=0.5", "callbacks.ohem.start must be an int, got 0.5"),
        ("logger.tensorboard.save_dir=x", "logger.tensorboard.save_dir is passed by Podium itself and cannot be configured"),
        ("views.batch.mixup.alpha=x", 'views.batch.mixup.alpha must be a number, got "x"'),
        ("views.image=[{_target_: paper.parts.Flip, p: 1, q: 1}]", "there is no key views.image.0.q; paper.parts.Flip takes p"),
        ("optimizer.backbone_lr_scal=1", "there is no key optimizer.backbone_lr_scal; did you mean optimizer.backbone_lr_scale?"),
        ("model.pretrained={_target_: paper.parts.OHEM}", "model.pretrained.keep is missing: paper.parts.OHEM requires it (a number)"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_part_is_named(word: str, message: str) -> None:
    assert message in mistakes(word)


@pytest.mark.parametrize(
    "word",
    [
        "data.root=null",  # filled in by Podium
        "optimizer.backbone_lr_scale=0.1",  # taken by the optimizer's builder
        "model.pretrained={_target_: paper.parts.OHEM, _partial_: true}",  # completed later
        "model.pretrained={_target_: torch.Tensor, anything: 1}",  # compiled: its source does not tell
        "loss.gamma=1",  # an int is a number
    ],
)
def test_what_is_right_passes(word: str) -> None:
    assert mistakes(word) == []


def test_all_mistakes_are_told_at_once_with_where_they_stand(conf: Conf) -> None:
    conf.write("experiment/wrong", "{data: {size: 3}, callbacks: {ohem: {keep: x}}}")
    words = ["competition=brush", "experiment=wrong", "optimizer.lr=x", "model._target_=paper.parts.Nut"]
    with pytest.raises(PodiumError) as caught:
        configure([f"--config-dir={conf.folder}", *words])
    assert str(caught.value).splitlines() == [
        "conf/experiment/wrong.yaml: data.size must be a list of int, got 3",
        'command line: model._target_=paper.parts.Nut: there is no "Nut" in paper.parts (did you mean Net?)',
        'command line: optimizer.lr must be a number, got "x"',
        'conf/experiment/wrong.yaml: callbacks.ohem.keep must be a number, got "x"',
    ]


def test_parts_are_found_at_any_depth() -> None:
    tree = {"a": {"_target_": "x.A", "b": [{"c": {"_target_": "x.C"}}]}, "d": None, "e": 3}
    assert [at for at, _ in parts(tree)] == ["a", "a.b.0.c"]


def test_a_syntax_error_in_the_code_is_named(tmp_path: Path) -> None:
    (tmp_path / "halfdone.py").write_text("class Net:\n    def __init__(self:\n")
    with pytest.raises(PodiumError, match=r"model._target_=halfdone.Net: .*/halfdone.py line 2: "):
        check({"model": {"_target_": "halfdone.Net"}})


def test_a_missing_optional_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from common.config import check as module

    monkeypatch.setitem(module.NEEDS, "pytorch_lightning.loggers.WandbLogger", "no_such_package")
    with pytest.raises(
        PodiumError, match=r"logger.wandb needs the package no_such_package, .* pip install no_such"
    ):
        check({"logger": {"wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger"}}})


def test_torch_is_not_imported_where_a_key_of_the_root_an_option_or_a_name_is_wrong() -> None:
    code = """
        import sys, common
        from common.config.configure import configure
        from common.errors import PodiumError
        words = ["trainer.max_epoch=3", "trainer.max_epochs=x", "los=focal", "loss=focus", "experiment=none", "competition=none"]
        for word in words:
            try:
                configure(["competition=calligraphy", word])
            except PodiumError:
                print(sorted({"torch", "numpy", "cv2", "pandas", "imgaug"} & {*sys.modules}))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [*["[]"] * 6, ""]


# What ships ----------------------------------------------------------------


def combinations() -> Iterator[list[str]]:
    """Words that together choose every option of every group once, with the first competition."""
    path = search_path([])
    groups = ("model", "loss", "optimizer", "schedule", "views", "trainer")
    yield from (
        [f"{group}={option}" for group, option in zip(groups, chosen, strict=True) if option]
        for chosen in zip_longest(*map(path.options, groups))
    )


@pytest.mark.parametrize("words", list(combinations()), ids=" ".join)
def test_every_option_that_ships_fits_the_code(words: list[str]) -> None:
    path = search_path([])
    loss = next((word.partition("=")[2] for word in words if word.startswith("loss=")), None)
    if loss and "scale" in read_yaml(path.file("loss", loss)):
        words = [*words, "loss.scale=32"]  # taken from a head that not every model has
    assert plan(configure([f"competition={path.options('competition')[0]}", *words]))


@pytest.mark.parametrize("name", search_path([]).options("competition"))
def test_every_competition_that_ships_fits_the_code(name: str) -> None:
    assert configure([f"competition={name}"]).competition == name


@pytest.mark.parametrize("name", search_path([]).options("experiment"))
def test_every_experiment_that_ships_fits_the_code(name: str) -> None:
    demanded = "competition" in read_yaml(search_path([]).file("experiment", name))
    words = [] if demanded else ["competition=calligraphy"]
    assert configure([*words, f"experiment={name}"]).experiment == [name]


def test_every_named_part_that_ships_fits_the_code() -> None:
    path = search_path([])
    for shelf in ("callbacks", "logger", "views/batch"):
        for name in path.options(shelf):
            file = path.file(shelf, name)
            given = {
                key: {"_target_": "builtins.dict"} if value == "???" else value
                for key, value in read_yaml(file).items()
            }
            key = f"{shelf.replace('/', '.')}.{name}"
            problems = [text for _, text in part_problems(key, given, PASSED.get(f"{shelf}.*", ()))]
            assert not problems or "needs the package" in problems[0], file
