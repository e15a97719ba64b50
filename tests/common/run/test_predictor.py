"""Several models, of different input sizes, as one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from common.config.options import parse
from common.data.reading import reader
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.run.members import Member, combine, write_members
from common.run.predictor import Ensemble, _described, _views
from common.train.train import train


@pytest.fixture(scope="module")
def small(toys, tmp_path_factory):
    """A run of another input size, without TTA."""
    run = tmp_path_factory.mktemp("small") / "run"
    train(toys("trainer.max_epochs=1", "data.size=[12, 10]", f"run_dir={run}", "seed=1"))
    return run


@pytest.fixture
def blended(run, small, tmp_path):
    """mean → a run folder whose members are the run's job twice and the small run's."""

    def made(mean: str) -> Path:
        shutil.copytree(run, tmp_path / mean)
        jobs = [one / "jobs" / "train_fold0" for one in (run, small, run)]
        write_members(tmp_path / mean, [Member(job) for job in jobs], mean)
        return tmp_path / mean

    return made


def table(ensemble, paths, batch_size=7):
    rows = list(ensemble.predict([path.name for path in paths], paths, batch_size, []))
    assert [name for name, _ in rows] == [path.name for path in paths]
    return np.stack([row for _, row in rows])


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_an_ensemble_is_the_mean_of_what_its_members_say_alone(run, small, blended, root, mean):
    paths = sorted(Path(root).glob("*/*.png"))[:20]
    alone = [table(Ensemble.of_run(one), paths) for one in (run, small)]
    together = table(Ensemble.of_run(blended(mean)), paths)
    expected = combine(np.stack([alone[0], alone[1], alone[0]]), mean)
    np.testing.assert_allclose(together, expected, rtol=1e-6)
    assert np.abs(together - alone[0]).max() > 1e-3


def test_a_picture_is_read_once_for_each_preprocessing(blended, root, monkeypatch):
    paths, count = sorted(Path(root).glob("*/*.png"))[:5], []
    read = reader.read
    monkeypatch.setattr(
        reader, "read", lambda *args, **kwargs: (count.append(args[0]), read(*args, **kwargs))[1]
    )
    table(Ensemble.of_run(blended("arithmetic")), paths)
    assert sorted(count) == sorted(2 * paths)  # three members, two sizes


def test_the_output_says_how_many_models_take_part(run, blended, root, tmp_path, capsys):
    folder = blended("geometric")
    predict(parse(Predict, [f"run_dir={folder}", f"input={root}", f"out={tmp_path / 'all.csv'}"]))
    how = "geometric mean of 3 models, best.ckpt, mean of 2 views, best.ckpt, one view"
    assert f"48 predictions from {folder} ({how})" in capsys.readouterr().out
    assert Ensemble.of_run(run, tta=False).how == "one model, best.ckpt, one view, TTA off"
    assert Ensemble.of_run(run, checkpoint="last.ckpt").how == "one model, last.ckpt, mean of 2 views"


def test_members_of_different_classes_are_refused(run, toys, tmp_path):
    ensemble_of = [run / "jobs" / "train_fold0", tmp_path / "other" / "jobs" / "train_fold0"]
    shutil.copytree(run, tmp_path / "other")
    import torch

    path = ensemble_of[1] / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["class_names"] = ["ring", "bar", "cross", "slash"]
    torch.save(checkpoint, path)
    write_members(tmp_path / "other", [Member(job) for job in ensemble_of])
    with pytest.raises(PodiumError, match="know different classes"):
        Ensemble.of_run(tmp_path / "other")


def test_views_are_counted_each_and_their_cost_is_told_where_it_differs():
    def said(views, tta=True):
        part = {"views": {name: {"_target_": f"common.callbacks.{target}"} for name, target in views.items()}}
        return _views(_described(Member(Path("job")), {"callbacks": {"tta": part if views else None}}, tta))

    several = {"raw": "tta.Raw", "crops": "tta.RandomCrops"}
    assert said(several) == "mean of 11 views" and said(several, tta=False) == "one view, TTA off"
    assert said({"sizes": "tta.Pyramid"}) == "mean of 3 views at the cost of 3.16"
    assert said({}) == "one view"
