"""Run folders: which one is taken, who holds it, and what differs."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.data.folder import FolderData
from common.errors import PodiumError
from common.run import folder
from common.train.train import with_data


def config(**changes):
    return {
        "competition": "toy",
        "run_dir": None,
        "new": False,
        "seed": 0,
        "loss": {"_target_": "a.B", "smoothing": 0.1},
        "data": {},
    } | changes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begun(**changes):
    run, _ = folder.choose(config(**changes))
    folder.write_config(run, config(**changes))
    return run


def test_differences_name_every_key_that_differs():
    other = config(seed=1, run_dir="x", new=True, loss={"_target_": "a.B", "gamma": 2})
    assert folder.differences(config(), other) == [
        "loss.gamma: None → 2",
        "loss.smoothing: 0.1 → None",
        "seed: 0 → 1",
    ]
    assert folder.differences(config(), config()) == []


def test_the_newest_unfinished_run_of_equal_configuration_goes_on():
    first, other = begun(), begun(seed=1, new=True)
    assert first != other
    assert folder.choose(config())[0] == first
    assert "NEW=1 starts afresh" in folder.choose(config())[1]
    assert folder.choose(config(new=True))[0] not in (first, other)
    (first / "done").touch()
    assert folder.choose(config())[0] != first


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own():
    several = [folder.choose(config(new=True))[0] for _ in range(3)]
    assert len({*several}) == 3 and all(run.is_dir() for run in several)


class Drawn(FolderData):
    """Sample data that take a while to draw, and say how often they were."""

    @classmethod
    def write_sample(cls, root, seed=0):
        with open("drawn", "a") as file:
            file.write("once\n")
        partial = root.with_name(f".{root.name}.partial")
        partial.mkdir(parents=True)
        time.sleep(0.5)
        (partial / "picture").touch()
        partial.rename(root)


def test_sample_data_are_drawn_once_by_runs_that_begin_at_the_same_time():
    def begin():
        with_data(config(data={"_target_": f"{__name__}.Drawn"}))

    runs = [multiprocessing.get_context("fork").Process(target=begin) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert Path("drawn").read_text() == "once\n" and (folder.DATA / "toy" / "sample" / "picture").exists()


def test_runs_are_told_apart_by_time_and_not_by_name(tmp_path):
    """«zebra» sorts behind every time stamp; it was begun first, and the run that was begun last finished first."""
    began = {"zebra": 1, "2026-01-01_00-00-00": 2, "apple": 3}
    ended = {"zebra": 7, "2026-01-01_00-00-00": 9, "apple": 8}
    runs = {name: folder.RUNS / "toy" / name for name in began}
    for name, run in runs.items():
        folder.write_config(run, config())
        os.utime(run / "config.yaml", (began[name], began[name]))
    assert [run.name for run in folder.runs_of("toy")] == list(began)
    assert folder.choose(config())[0] == runs["apple"]
    for name, run in runs.items():
        (run / "done").touch()
        os.utime(run / "done", (ended[name], ended[name]))
    assert folder.newest_finished("toy") == runs["2026-01-01_00-00-00"]


def test_a_run_on_sample_data_says_so_in_its_name():
    assert folder.choose(config(data={"sample": True}))[0].name.endswith("_sample")


def test_another_configuration_in_a_named_folder_is_refused():
    begun(run_dir="mine")
    assert folder.choose(config(run_dir="mine"))[1].startswith("going on")
    with pytest.raises(PodiumError, match=r"(?s)seed: 0 → 7"):
        folder.choose(config(run_dir="mine", seed=7))


def test_a_lock_holds_against_other_processes_and_ends_with_its_own(tmp_path):
    script = "import sys\nfrom pathlib import Path\nfrom common.run.folder import lock\n"
    script += "with lock(Path(sys.argv[1])): pass"
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = str(folder.__file__).rsplit("/common/", 1)[0]
    with folder.lock(tmp_path):
        refused = subprocess.run(command, capture_output=True, text=True, cwd=root)
        assert refused.returncode != 0 and "is in use by process" in refused.stderr
    assert subprocess.run(command, capture_output=True, cwd=root).returncode == 0


def test_a_file_is_whole_or_absent(tmp_path):
    folder.write_json(tmp_path / "a.json", {"名": [1, 2.5, None]})
    assert folder.load_json(tmp_path / "a.json") == {"名": [1, 2.5, None]}
    with pytest.raises(PodiumError, match="could not be written"):
        folder.write_text(tmp_path / "a.json" / "b", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_without_a_finished_run_the_message_says_what_to_do():
    with pytest.raises(PodiumError, match="make train COMP=toy"):
        folder.newest_finished("toy")


def test_a_worker_that_outlives_a_killed_run_does_not_hold_its_lock(tmp_path):
    """The script forks a child that stays, and is killed itself."""
    script = (
        "import os, signal, sys, time\nfrom pathlib import Path\nfrom common.run.folder import lock\n"
        "with lock(Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n        time.sleep(3)\n        os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(folder.__file__).rsplit("/common/", 1)[0]
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=root, stdout=subprocess.DEVNULL
    )
    assert killed.returncode == -9
    with folder.lock(tmp_path):
        pass
