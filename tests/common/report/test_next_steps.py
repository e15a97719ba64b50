"""Next steps fit what is there."""

import shlex

import pytest

from common.config.compose import compose
from common.deliver.exported import Exported
from common.errors import PodiumError
from common.report.next_steps import after_training, resume
from common.run import environment, folder
from tests.toys import write_images


def begun(toy, place, *words):
    run = place / "a run (1) für $HOME"
    run.mkdir(exist_ok=True)
    folder.write_config(run, toy(*words))
    return run


def test_a_test_part_is_predicted_where_there_is_one(toy, tmp_path):
    run = begun(toy, tmp_path)
    assert all("INPUT=" in command for command in after_training(run))
    root = tmp_path / "parted"
    write_images(root / "train")
    (root / "test").mkdir()
    run = begun(toy, tmp_path, f"data.root={root}")
    assert all("INPUT=" in command for command in after_training(run))  # nothing is in it
    write_images(root / "test", per_class=1, classes=["x"])
    assert shlex.split(after_training(run)[0]) == ["make", "predict", "COMP=toy", f"RUN={run}"]


def test_a_run_is_resumed_with_the_words_that_it_was_begun_with(toy, tmp_path, monkeypatch):
    run = begun(toy, tmp_path)
    words = ["train", "competition='toy'", "new=true", "data.root='/a b/ü$x'", "optimizer.lr=0.1"]
    monkeypatch.setattr("sys.argv", ["podium", *words])
    folder.write_json(run / "environment.json", environment.describe())
    make, verb, *variables = shlex.split(resume(run))
    given = dict(variable.split("=", 1) for variable in variables)
    assert (make, verb, given["COMP"], given["RUN"]) == ("make", "train", "toy", str(run))
    conf = [tmp_path / "conf"]
    again = compose(["competition=toy", *shlex.split(given["ARGS"])], conf)
    assert (again.data.root, again.optimizer.lr, again.new) == ("/a b/ü$x", 0.1, False)


def test_a_missing_export_is_made_of_the_run_that_it_would_lie_in(toy, tmp_path):
    run = begun(toy, tmp_path)
    with pytest.raises(PodiumError) as error:
        Exported(run / "export" / "model.onnx")
    assert f"make export RUN='{run}'" in str(error.value)
