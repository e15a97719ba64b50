"""What all tests share: one thread each, and the guard that lets any build of torchvision be imported.

pytest-xdist imports this in a process that runs no tests: what is slow to import is imported where it is used.
"""

import os

os.environ["PODIUM_TRUST"] = "tests,benchmarks"  # whose toys and clocks runs name, in child processes too
os.environ["PODIUM_PY_IS_GIVEN"] = "1"  # no test installs anything into the environment that it runs in
os.environ["OMP_NUM_THREADS"] = "1"  # here and in children: read when torch, numpy and OpenCV are imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # where a job takes more, those that wait sleep

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import common  # noqa: F401
from common import trust

# Hypothesis by itself fails an example that takes 0.2 s, as on a busy machine any does.
settings.register_profile("podium", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podium")

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
    affine: {{_target_: common.data.augmentation.batch_views.Affine, shift: 0.1, rotate: 10}}
trainer:
  accelerator: cpu
  max_epochs: 2
  threads: 1
trial:
  enabled: false
"""


def toy_composer(folder: Path):
    """A function from overrides to the configuration of a competition of 48 small pictures below `folder`."""
    from omegaconf import OmegaConf

    from common.config.compose import compose
    from tests.toys import write_images

    write_images(folder / "images")
    (folder / "conf" / "competition").mkdir(parents=True)
    (folder / "conf" / "competition" / "toy.yaml").write_text(TOY.format(root=folder / "images"))

    def composed(*overrides: str) -> dict:
        return OmegaConf.to_container(
            compose(["competition=toy", *overrides], [folder / "conf"]), resolve=True
        )

    return composed


def pytest_collection_modifyitems(items):
    """The longest file first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_competitions.py")


@pytest.fixture
def clock(monkeypatch):
    """Time as training reads it: it passes by the callback `tests.toys.Tick` alone, however busy the machine is."""
    from tests.toys import Tick

    monkeypatch.setattr("time.monotonic", lambda: Tick.now)


@pytest.fixture(autouse=True)
def one_thread():
    """Those that a job took are given back."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def forget_trust():
    """What a test's own configurations name is not trusted in others."""
    with trust.scope():
        yield


@pytest.fixture
def toy(tmp_path):
    return toy_composer(tmp_path)


@pytest.fixture(scope="module")
def toy_module(tmp_path_factory):
    return toy_composer(tmp_path_factory.mktemp("toy"))
