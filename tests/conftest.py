"""What all tests share: one thread each, and the guard that lets any build of torchvision be imported."""

import os

os.environ["PODIUM_TRUST"] = "tests"  # whose toys runs name, here and in processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch, numpy and OpenCV are imported

import torch

import common  # noqa: F401

torch.set_num_threads(1)

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from tests.toys import write_images  # noqa: E402

TOY = """
data:
  root: {root}
  size: [16, 16]
  channels: 1
  batch_size: 8
  valid: 0.25
model:
  _target_: tests.toys.TinyNet
views:
  batch:
    affine: {{_target_: common.data.batch_views.Affine, shift: 0.1, rotate: 10}}
trainer:
  accelerator: cpu
  max_epochs: 2
  threads: 1
trial:
  enabled: false
"""


def toy_composer(folder: Path):
    """A function from overrides to the configuration of a competition of 48 small pictures below `folder`."""
    from common.config.compose import compose

    write_images(folder / "images")
    (folder / "conf" / "competition").mkdir(parents=True)
    (folder / "conf" / "competition" / "toy.yaml").write_text(TOY.format(root=folder / "images"))

    def composed(*overrides: str) -> dict:
        return OmegaConf.to_container(compose(["competition=toy", *overrides], [folder / "conf"]))

    return composed


def pytest_collection_modifyitems(items):
    """The longest file first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_competitions.py")


@pytest.fixture
def toy(tmp_path):
    return toy_composer(tmp_path)


@pytest.fixture(scope="module")
def toy_module(tmp_path_factory):
    return toy_composer(tmp_path_factory.mktemp("toy"))
