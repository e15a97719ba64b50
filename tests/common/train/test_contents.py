"""Places are no configuration, what lies there is."""

import os
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl

from common.data.records import class_folders
from common.data.spreadsheet import read_csv
from common.deliver.evaluate import Evaluate, evaluate
from common.errors import PodiumError
from common.run import folder
from common.train.train import train


class Killed(Exception):
    pass


class KilledOnce(pl.Callback):
    """Ends the first training after its first epoch."""

    def __init__(self, flag: str) -> None:
        self.flag = Path(flag)

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and not self.flag.exists():
            self.flag.touch()
            raise Killed


@pytest.fixture
def begun(toy, tmp_path, monkeypatch):
    """(configuration, run folder) of a run that was killed in its second epoch."""
    monkeypatch.chdir(tmp_path)
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("id,class\nbar/0.png,ring\n")
    config = toy(f"data.corrections={corrections}", "data.score=0.2")
    config["callbacks"]["killed"] = {"_target_": f"{__name__}.KilledOnce", "flag": str(tmp_path / "flag")}
    with pytest.raises(Killed):
        train(config)
    (run,) = (tmp_path / "runs" / "toy").iterdir()
    return config, run


def with_data(config, **changes):
    return {**config, "data": {**config["data"], **{key: str(value) for key, value in changes.items()}}}


def test_a_run_whose_data_have_moved_goes_on_and_ends_like_one_that_stayed(begun, tmp_path, capsys):
    config, run = begun
    stayed = tmp_path / "stayed"
    shutil.copytree(run, stayed)
    train({**config, "run_dir": str(stayed)})
    shutil.move(tmp_path / "images", tmp_path / "elsewhere")
    shutil.move(tmp_path / "corrections.csv", tmp_path / "moved.csv")
    moved = with_data(config, root=tmp_path / "elsewhere", corrections=tmp_path / "moved.csv")
    assert train(moved) == folder.RUNS / "toy" / run.name  # found without RUN=
    ours, theirs = (folder.load_json(one / "scores.json") for one in (run, stayed))
    assert ours["parts"] == theirs["parts"] if "parts" in ours else ours == theirs
    assert folder.load_config(run)["data"]["root"] == str(tmp_path / "elsewhere")
    assert folder.load_config(run / "jobs" / "train_fold0")["data"]["corrections"] == str(
        tmp_path / "moved.csv"
    )
    assert read_csv(run / "folds.csv")["path"].str.startswith(str(tmp_path / "elsewhere")).all()
    evaluate(Evaluate(run_dir=str(run)))
    with pytest.raises(PodiumError, match=r"have moved: .*images is gone; name them by DATA="):
        evaluate(Evaluate(run_dir=str(stayed)))
    evaluate(Evaluate(run_dir=str(stayed), data={"root": str(tmp_path / "elsewhere")}))


def rename_a_class(root):
    (root / "bar").rename(root / "bat")


def add_a_class(root):
    shutil.copytree(root / "bar", root / "bat")


def remove_a_picture(root):
    (root / "ring" / "1.png").unlink()


def add_a_picture(root):
    shutil.copy(root / "ring" / "1.png", root / "ring" / "new.png")


def move_a_picture(root):
    (root / "ring" / "1.png").rename(root / "bar" / "1_of_ring.png")


def exchange_two_pictures(root):
    """Of one size, and with the times that they had."""
    first, second = root / "ring" / "1.png", root / "bar" / "1.png"
    times = [(path.stat().st_atime_ns, path.stat().st_mtime_ns) for path in (first, second)]
    content = first.read_bytes(), second.read_bytes()
    for path, new, when in zip((first, second), content[::-1], times, strict=True):
        path.write_bytes(new)
        os.utime(path, ns=when)


CHANGES = {
    exchange_two_pictures: "files of pictures, or the class tree",
    rename_a_class: "gone: bar; new: bat",
    add_a_class: "4 classes → 5.*new: bat",
    remove_a_picture: "gone: ring/1.png",
    add_a_picture: "new: ring/new.png",
    move_a_picture: "gone: ring/1.png; new: bar/1_of_ring.png",
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_begin_another_run_and_are_refused_where_the_run_is_named(change, begun, tmp_path, capsys):
    config, run = begun
    config["data"]["corrections"] = None
    (run / "config.yaml").unlink()  # one without corrections, which would be wrong for a renamed class
    shutil.rmtree(run)
    (tmp_path / "flag").unlink()
    with pytest.raises(Killed):
        train(config)
    (run,) = (tmp_path / "runs" / "toy").iterdir()
    change(tmp_path / "images")
    with pytest.raises(PodiumError, match=CHANGES[change]):
        train({**config, "run_dir": str(run)})
    capsys.readouterr()
    assert train(config) != folder.RUNS / "toy" / run.name
    assert f"not going on with the unfinished run {folder.RUNS / 'toy' / run.name}" in capsys.readouterr().out


def test_other_corrections_in_the_same_place_are_refused(begun, tmp_path):
    config, run = begun
    (tmp_path / "corrections.csv").write_text("id,class\nbar/0.png,cross\n")
    with pytest.raises(PodiumError, match=r"data\.corrections: .*content"):
        train({**config, "run_dir": str(run)})


def test_a_split_that_is_gone_since_the_run_began_is_no_difference(begun, tmp_path):
    config, first = begun
    shutil.copy(first / "folds.csv", tmp_path / "split.csv")
    (tmp_path / "flag").unlink()
    config = with_data(config, split=tmp_path / "split.csv")
    config["data"]["score"] = 0.0
    with pytest.raises(Killed):
        train(config)
    (run,) = {*(tmp_path / "runs" / "toy").iterdir()} - {first}
    (tmp_path / "split.csv").unlink()
    assert train(config) == folder.RUNS / "toy" / run.name


def test_a_run_folder_that_has_moved_goes_on(begun, tmp_path):
    config, run = begun
    shutil.move(run, tmp_path / "mine")
    assert train({**config, "run_dir": str(tmp_path / "mine")}) == tmp_path / "mine"
    shutil.move(tmp_path / "mine", tmp_path / "yours")
    assert evaluate(Evaluate(run_dir=str(tmp_path / "yours"))) == tmp_path / "yours" / "evaluation"
    table, _ = class_folders(tmp_path / "images")
    assert len(table) == 48
