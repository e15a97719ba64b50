"""What a target takes by name, compared with what Python itself knows."""

import importlib
import inspect
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from common.config.signature import NotFound, Opaque, Signature, signature

PACKAGES = ["torch.optim", "torch.nn", "pytorch_lightning.callbacks", "imgaug.augmenters"]
SELDOM = 0.03  # share of names that need not be known: those made at run time


@pytest.mark.parametrize("package", PACKAGES)
def test_arguments_read_from_source_are_those_that_python_knows(package: str) -> None:
    unknown, count = [], 0
    for name, thing in inspect.getmembers(importlib.import_module(package)):
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        count += 1
        try:
            found = signature(f"{package}.{name}")
        except Opaque:
            unknown.append(name)
            continue
        known = inspect.signature(thing).parameters.values()
        takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known)
        named = {
            p.name: p.default is p.empty for p in known if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        required = {key: parameter.required for key, parameter in found.parameters.items()}
        if takes_more:  # the source tells more: what `**kwargs` is passed on to
            assert required.items() >= named.items(), name
        else:
            assert (required, found.open) == (named, False), name
    assert count > 10 and len(unknown) <= SELDOM * count, unknown


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that writes modules (file name -> text), importable for the test."""
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}

    def write(**files: str) -> None:
        for name, text in files.items():
            file = tmp_path / (name.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text), encoding="utf-8")

    yield write
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


def names(found: Signature) -> list[str]:
    return [f"{name}{'!' * parameter.required}" for name, parameter in found.parameters.items()]


def test_names_are_followed_through_imports_and_aliases(package) -> None:
    package(
        boxes__kinds="class Box:\n    def __init__(self, size): ...",
        boxes__all="from .kinds import *\nfrom . import kinds as k\nCrate = k.Box",
        shop="from boxes.all import Crate as Carton\nimport boxes.kinds\nChest = boxes.kinds.Box",
    )
    for target in ("boxes.kinds.Box", "boxes.all.Box", "boxes.all.Crate", "shop.Carton", "shop.Chest"):
        assert names(signature(target)) == ["size!"]


def test_a_class_without_constructor_has_that_of_its_base(package) -> None:
    package(base="class A:\n    def __init__(self, x, y=1): ...", child="import base\nclass B(base.A): pass")
    assert names(signature("child.B")) == ["x!", "y"]


def test_keyword_arguments_that_go_to_the_base_are_those_of_the_base(package) -> None:
    package(
        kwargs="""
        class A:
            def __init__(self, place, x, y=1, *, z): ...
        class B(A):
            def __init__(self, own, **kwargs):
                super().__init__(0, y=2, **kwargs)
        class C(B):
            def __init__(self, **kwargs):
                self.kwargs = kwargs
        class D(B):
            def __init__(self, **kwargs):
                self.spare = kwargs.pop("spare")
                super().__init__(**kwargs)
        """
    )
    assert signature("kwargs.D") == Signature(open=True)
    assert names(signature("kwargs.B")) == ["x!", "z!", "own!"] and not signature("kwargs.B").open
    assert names(signature("torch.nn.LSTM"))[:2] == [
        "input_size!",
        "hidden_size!",
    ]  # super().__init__("LSTM", *args, **kwargs)
    assert signature("kwargs.C") == Signature(open=True)


def test_dataclasses_have_their_fields(package) -> None:
    package(
        fields="""
        from dataclasses import dataclass, field, KW_ONLY
        from typing import ClassVar
        @dataclass
        class A:
            kind: ClassVar[str] = "a"
            x: int
            y: list = field(default_factory=list)
        @dataclass
        class B(A):
            _: KW_ONLY
            z: float = field(default=1.0)
            hidden: int = field(init=False)
        class C(B): pass
        """
    )
    import fields  # type: ignore[import-not-found]

    for name in "ABC":
        assert [word.rstrip("!") for word in names(signature(f"fields.{name}"))] == list(
            inspect.signature(getattr(fields, name)).parameters
        )
    assert names(signature("fields.B")) == ["x!", "y", "z"]


def test_class_methods_lose_their_first_argument(package) -> None:
    package(
        methods="""
        class A:
            @classmethod
            def make(cls, x): ...
            @staticmethod
            def build(y): ...
        """
    )
    assert names(signature("methods.A.make")) == ["x!"] and names(signature("methods.A.build")) == ["y!"]


def test_folders_without_init_file_are_packages(package) -> None:
    package(contest__mine__data="class Data: pass")
    assert signature("contest.mine.data.Data") == Signature()
    with pytest.raises(NotFound, match=r'there is no "mien" in contest \(did you mean mine\?\)'):
        signature("contest.mien.data.Data")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("trch.optim.SGD", r'there is no package "trch" \(did you mean torch\?\); is it installed\?'),
        ("torch.optm.SGD", r'there is no "optm" in torch \(did you mean optim\?\)'),
        ("torch.optim.AdamV", r'there is no "AdamV" in torch.optim \(did you mean Adam\?\)'),
        ("imgaug.augmenters.Afine", r'there is no "Afine" in imgaug.augmenters \(did you mean Affine\?\)'),
        ("timm.creat_model", r'there is no "creat_model" in timm \(did you mean create_model\?\)'),
        ("torch.optim", "torch.optim is a module, not a class or function"),
    ],
)
def test_a_wrong_path_is_named_with_the_nearest_right_one(target: str, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        signature(target)


@pytest.mark.parametrize("target", ["torch.Tensor", "math.sqrt", "builtins.dict"])
def test_what_is_compiled_is_left_alone(target: str) -> None:
    with pytest.raises(Opaque):
        signature(target)
