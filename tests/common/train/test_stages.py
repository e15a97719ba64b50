"""Stages and folds, whole: what a run leaves, that it leaks nothing, and what becomes of it when jobs fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.data import predictions
from common.ensemble import out_of_fold
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import jobs_of, out_of_fold_path
from common.train.job import run_job
from common.train.stages import JobsFailed, run_waves
from common.train.train import divide_data, finish, start, train, with_data

ROOT = Path(__file__).parents[3]
STAGED = [
    "experiment=self_distillation",
    "stages.teacher.folds=2",
    "stages.student.folds=2",
    "trainer.max_epochs=1",
]


CERTAIN = 0.3  # between the probabilities that one epoch reaches


class InThisProcess:
    """A launcher for tests: no process to start, so the same road in a tenth of the time."""

    def __call__(self, commands, stop_on_failure=False, on_start=None, on_end=None):
        codes = []
        for number, command in enumerate(commands):
            if stop_on_failure and any(codes):
                codes.append(None)
                continue
            on_start(number)
            try:
                run_job(Path(command[-1]))
                codes.append(0)
            except PodiumError as error:
                (Path(command[-1]) / "failed.txt").write_text(str(error))
                codes.append(2)
            on_end(number, codes[-1])
        return codes


@pytest.fixture(scope="module")
def config(toy_module):
    found = toy_module(*STAGED)
    return {**found, "launcher": {"_target_": f"{__name__}.InThisProcess"}}


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return train({**config, "run_dir": str(tmp_path_factory.mktemp("runs") / "staged")})


def test_every_training_image_is_predicted_once_by_the_fold_that_has_not_seen_it(run):
    split = pd.read_csv(run / "folds.csv", dtype={"id": str})
    trained = split[split["part"] == "train"].set_index("id")
    for stage in ("teacher", "student"):
        frame, rows = predictions.read(out_of_fold_path(run, stage))
        assert sorted(frame["id"]) == sorted(trained.index) and rows.shape == (len(trained), 4)
        assert (trained["fold"].loc[frame["id"]].to_numpy() == frame["fold"]).all()
        for fold in range(2):
            own, expected = predictions.read(run / "jobs" / f"{stage}_fold{fold}" / "predictions.parquet")
            assert (rows[frame["fold"] == fold] == expected).all()
            assert frame["id"][frame["fold"] == fold].tolist() == own["id"].tolist()


def test_scores_of_folds_and_of_the_whole_table_are_both_kept(run):
    scores = folder.load_json(run / "scores.json")
    for stage, found in scores["stages"].items():
        frame, rows = predictions.read(out_of_fold_path(run, stage))
        right = rows.argmax(1) == frame["label"]
        assert found["valid_top1"] == pytest.approx(right.mean())
        folds = [right[frame["fold"] == fold].mean() for fold in range(2)]
        kept = found["folds"]["valid_top1"]
        assert kept["folds"] == pytest.approx(folds) and kept["mean"] == pytest.approx(np.mean(folds))
        assert kept["sd"] == pytest.approx(np.std(folds, ddof=1))
        held_out = [
            predictions.read(run / "jobs" / f"{stage}_fold{k}" / "predictions_score.parquet") for k in (0, 1)
        ]
        mean = (held_out[0][1] + held_out[1][1]) / 2
        assert found["score_top1"] == pytest.approx((mean.argmax(1) == held_out[0][0]["label"]).mean())
    assert scores["valid_top1"] == scores["stages"]["student"]["valid_top1"]


def test_the_page_says_that_students_are_compared_only_where_no_fold_was(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "score, in no fold" in page and "it compares them" in page and "mean ± sd of 2 folds" in page


def test_no_soft_label_comes_from_a_model_that_saw_the_image(run, config):
    """By the jobs themselves: the rows that each teacher trained on, against the rows that it taught."""
    from common.run.components import make_data

    frame, _ = predictions.read(out_of_fold_path(run, "teacher"))
    taught_by = dict(zip(frame["id"], frame["fold"], strict=True))
    for fold in range(2):
        data = make_data(folder.load_config(run / "jobs" / f"teacher_fold{fold}"), run)
        data.setup()
        seen = data.table.iloc[data.rows("train")]
        groups = set(seen["group"])
        taught = data.table[[taught_by.get(image) == fold for image in data.table["id"]]]
        assert len(taught) and not groups & set(taught["group"])
        for part in ("valid", "choose", "score"):
            assert not groups & set(data.table.iloc[data.rows(part)]["group"])


def test_students_learn_from_the_teachers_table(run, config):
    from common.run.components import make_callbacks
    from common.train.job import with_teacher

    job = run / "jobs" / "student_fold1"
    soft = next(
        one for one in make_callbacks(with_teacher(folder.load_config(job), run)) if hasattr(one, "teacher")
    )
    frame, rows = predictions.read(out_of_fold_path(run, "teacher"))
    soft.read(frame["id"].tolist(), 4)
    np.testing.assert_allclose(soft.teacher(torch.arange(len(frame))).numpy(), rows, rtol=1e-6)


def test_a_finished_run_is_left_alone_and_another_configuration_refused(run, config, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    train({**config, "run_dir": str(run)})
    assert "finished already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    stages = {**config["stages"], "student": {**config["stages"]["student"], "folds": 3}}
    with pytest.raises(PodiumError, match=r"stages.student.folds: 2 → 3"):
        train({**config, "stages": stages, "run_dir": str(run)})


def test_a_failed_job_is_recorded_what_does_not_need_it_goes_on_and_the_same_command_mends_it(
    config, tmp_path
):
    chained = {**config["stages"]["student"], "soft_labels_from": None, "init_from": "teacher", "recipe": {}}
    stages = {**config["stages"], "student": chained}
    broken = {**config, "stages": stages, "run_dir": str(tmp_path / "run")}
    waves = jobs_of(broken)
    run = tmp_path / "run"
    start(run, broken, waves)
    divide_data(run, broken, waves)
    spoiled = run / "jobs" / "teacher_fold1" / "best.ckpt"
    spoiled.mkdir()  # a folder where the checkpoint should be written
    with pytest.raises(JobsFailed) as failed:
        run_waves(run, waves, InThisProcess(), False)
    assert set(failed.value.failed) == {"teacher_fold1", "student_fold1"}
    assert "failed.txt" in failed.value.failed["teacher_fold1"]
    assert failed.value.failed["student_fold1"] == "not started: it needs teacher_fold1"
    assert folder.is_done(run / "jobs" / "student_fold0") and not out_of_fold_path(run, "teacher").exists()
    spoiled.rmdir()
    began = (run / "jobs" / "student_fold0" / "done").stat().st_mtime_ns
    run_waves(run, waves, InThisProcess(), False)
    finish(run, waves)
    assert not (run / "jobs" / "teacher_fold1" / "failed.txt").exists()
    assert (run / "jobs" / "student_fold0" / "done").stat().st_mtime_ns == began
    loaded = folder.load_json(run / "jobs" / "student_fold1" / "init.json")
    assert "teacher_fold1" in loaded["from"] and not loaded["left_out"] and not loaded["missing"]


def test_a_job_that_runs_elsewhere_is_named_with_who_runs_it_and_not_as_failed(config, tmp_path):
    """Another process holds the lock; the launcher says code 2, as `python -m common job` does."""
    waves = jobs_of({**config, "run_dir": str(tmp_path / "run")})[:1]
    run = tmp_path / "run"
    start(run, config, waves)
    job = run / "jobs" / "teacher_fold0"
    script = "import sys\nfrom pathlib import Path\nfrom common.run.folder import lock\n"
    script += "with lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    words = [sys.executable, "-c", script, str(job)]
    holder = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    try:
        with pytest.raises(JobsFailed) as failed:
            run_waves(run, waves, lambda commands, *_: [2] * len(commands), False)
    finally:
        holder.communicate()
    said = failed.value.failed
    assert f"teacher_fold0 is in use by process {holder.pid} on " in said["teacher_fold0"]
    assert not (job / "failed.txt").exists()
    assert "its process ended with code 2" in said["teacher_fold1"]


def test_on_failure_stop_starts_nothing_more(config, tmp_path):
    stopping = {**config, "run_dir": str(tmp_path / "run")}
    waves, run = jobs_of(stopping), tmp_path / "run"
    start(run, stopping, waves)
    divide_data(run, stopping, waves)
    (run / "jobs" / "teacher_fold0" / "best.ckpt").mkdir()
    with pytest.raises(JobsFailed) as failed:
        run_waves(run, waves, InThisProcess(), True)
    assert list(failed.value.failed.values())[1:] == ["not started"] * 3


def test_incomplete_tables_are_refused_by_name(run, tmp_path):
    copy = tmp_path / "run"
    for fold in range(2):
        (copy / "jobs" / f"teacher_fold{fold}").mkdir(parents=True)
    split = pd.read_csv(run / "folds.csv", dtype={"id": str})
    split.to_csv(copy / "folds.csv", index=False)
    tables = [
        predictions.read(run / "jobs" / f"teacher_fold{fold}" / "predictions.parquet") for fold in range(2)
    ]

    def written(fold, frame, rows):
        file = copy / "jobs" / f"teacher_fold{fold}" / "predictions.parquet"
        predictions.write(file, frame["id"].tolist(), frame["label"].to_numpy(), rows)

    for fold, (frame, rows) in enumerate(tables):
        written(fold, frame, rows)
    out_of_fold.join(copy, "teacher", 2)
    first = tables[0][0]["id"].iloc[0]
    written(0, tables[0][0].iloc[1:], tables[0][1][1:])
    with pytest.raises(PodiumError, match=f"1 images missing, the first is {first}"):
        out_of_fold.join(copy, "teacher", 2)
    written(0, *tables[1])
    with pytest.raises(PodiumError, match="images twice"):
        out_of_fold.join(copy, "teacher", 2)
    written(0, *tables[1])
    written(1, *tables[0])
    with pytest.raises(PodiumError, match="was predicted by another fold than its own"):
        out_of_fold.join(copy, "teacher", 2)


def test_pictures_that_are_gone_after_training_are_named_and_left_out(toy, tmp_path, capsys):
    """One before the second fold is trained; those of the galleries when all jobs are done."""
    recipe = toy("trainer.max_epochs=1", "data.choose=0.2", "+stages={train: {folds: 2}}")
    recipe |= {"launcher": {"_target_": f"{__name__}.InThisProcess"}, "run_dir": str(tmp_path / "run")}
    run, waves = tmp_path / "run", jobs_of(with_data(recipe))
    start(run, recipe, waves)
    divide_data(run, recipe, waves)
    split = pd.read_csv(run / "folds.csv").set_index("id")
    run_job(run / "jobs" / "train_fold0")
    chosen = split.index[split["part"] == "choose"]
    gone = [split.index[split["fold"] == 1][0], chosen[0]]
    for image in gone:
        Path(split["path"][image]).unlink()
    run_waves(run, waves, InThisProcess(), True)
    joined = predictions.read(out_of_fold_path(run, "train"))[0]
    assert {*joined["id"]} == {*split.index[split["fold"] >= 0]} - {*gone}
    shown = predictions.read_top(out_of_fold_path(run, "train"))
    wrong = shown[shown["label"] != shown["predicted"]]["id"]
    Path(split["path"][wrong.iloc[0]]).unlink()
    Path(split["path"][wrong.iloc[1]]).write_bytes(b"no picture")
    finish(run, waves)
    assert folder.is_done(run) and (run / "pictures" / "worst_mistakes.png").exists()
    folds = [
        predictions.read(run / "jobs" / f"train_fold{fold}" / "predictions_choose.parquet") for fold in (0, 1)
    ]
    mean, rows = predictions.read(run / "out_of_fold" / "train_choose.parquet")
    assert mean["id"].tolist() == [image for image in chosen if image not in gone]
    there = folds[0][0]["id"].isin(mean["id"]).to_numpy()
    np.testing.assert_array_equal(rows, (folds[0][1][there] + folds[1][1]) / 2)
    listed = pd.read_csv(run / "bad_images.csv").set_index("path")["reason"]
    named = {split["path"][image] for image in wrong.iloc[:2]}
    assert {*listed.index} == named and listed[split["path"][wrong.iloc[0]]] == "No such file or directory"
    report = (run / "report.html").read_text()
    assert all(path in report for path in named) and "left out: 2 pictures" in capsys.readouterr().out


def test_teachers_of_another_run_that_saw_what_is_held_out_are_refused(run, config, tmp_path):
    student = {**config["stages"]["student"], "soft_labels_from": str(run)}
    other = {**config, "seed": 5, "stages": {"student": student}, "run_dir": str(tmp_path / "other")}
    with pytest.raises(
        PodiumError, match=r"stages.student.soft_labels_from: .*pictures that this run holds out"
    ):
        train(other)
    shared = {
        **other,
        "data": {**config["data"], "split": str(run / "folds.csv")},
        "run_dir": str(tmp_path / "same"),
    }
    train(shared)
    assert folder.is_done(tmp_path / "same")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("launcher", "package"),
    [
        (["serial"], "pytest"),
        (["joblib", "launcher.jobs=2"], "joblib"),
        (["ray"], "ray"),
        (["slurm", "launcher.cluster=local", "launcher.cpus=1", "launcher.minutes=5"], "submitit"),
    ],
)
def test_every_launcher_makes_the_same_files_and_weights(run, launcher, package, tmp_path):
    pytest.importorskip(package)
    root = Path(folder.load_config(run)["data"]["root"])
    words = [
        "competition=toy",
        *STAGED,
        f"run_dir={tmp_path / 'run'}",
        f"--config-dir={root.parent / 'conf'}",
    ]
    words += [f"launcher={launcher[0]}", *launcher[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "common", "train", *words], check=True, env=environment, cwd=tmp_path
    )
    mine, other = run, tmp_path / "run"
    assert files_of(mine) == files_of(other)
    for path in sorted(mine.rglob("*.parquet")):
        (frame, rows), (theirs, their_rows) = (
            predictions.read(base / path.relative_to(mine)) for base in (mine, other)
        )
        assert frame.equals(theirs) and (rows == their_rows).all(), path
    for path in sorted(mine.rglob("*.ckpt")):
        one, two = (
            torch.load(base / path.relative_to(mine), weights_only=True)["state_dict"]
            for base in (mine, other)
        )
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one), path


def files_of(run):
    return sorted(
        path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and path.name != "lock"
    )


def test_a_single_job_may_not_take_weights_that_saw_what_it_holds_out(run, config, tmp_path):
    single = {**config, "stages": {}, "seed": 3, "weights_from": str(run), "run_dir": str(tmp_path / "one")}
    with pytest.raises(PodiumError, match=r"^weights_from: models of .* pictures that this run holds out"):
        train(single)


def test_a_job_made_from_an_older_one_is_refused(run, config, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "done").unlink()
    os.utime(copy / "jobs" / "teacher_fold0" / "done")
    with pytest.raises(PodiumError, match="student_fold0 was made from an older teacher_fold0"):
        train({**config, "run_dir": str(copy)})


def test_pictures_without_labels_are_learnt_from_where_the_teachers_are_sure(config, tmp_path, capsys):
    from common.run.components import make_callbacks, make_data
    from common.train.job import with_teacher

    root = Path(config["data"]["root"])
    folder_of_new = tmp_path / "new"
    folder_of_new.mkdir()
    originals = {}
    for number, path in enumerate(sorted(root.glob("*/[0-3].png"))):
        (folder_of_new / f"{number:02d}.png").write_bytes(path.read_bytes() + b" ")
        originals[f"unlabelled/{number:02d}.png"] = path.relative_to(root).as_posix()
    recipe = {"data": {**config["data"], "unlabelled": str(folder_of_new), "certainty": CERTAIN}}
    student = {**config["stages"]["student"], "recipe": {**config["stages"]["student"]["recipe"], **recipe}}
    run = tmp_path / "run"
    train({**config, "stages": {**config["stages"], "student": student}, "run_dir": str(run)})

    ids, rows = predictions.read(run / "out_of_fold" / "student_unlabelled.parquet")
    models = [predictions_of(run / "jobs" / f"teacher_fold{fold}", folder_of_new) for fold in range(2)]
    np.testing.assert_allclose(rows, (models[0] + models[1]) / 2, atol=1e-6)
    sure = set(ids["id"][rows.max(1) >= CERTAIN])
    assert (
        0 < len(sure) < len(ids) == 16 and f"{len(sure)} of 16 unlabelled pictures" in capsys.readouterr().out
    )
    for fold in range(2):
        job = with_teacher(folder.load_config(run / "jobs" / f"student_fold{fold}"), run)
        data = make_data(job, run)
        data.setup()
        taught = {
            part: set(data.table["id"].iloc[data.rows(part)]) & set(ids["id"]) for part in ("train", "valid")
        }
        seen = set(data.table["id"].iloc[data.rows("train")])  # equal pictures are held out with them
        assert taught == {"train": {new for new in sure if originals[new] in seen}, "valid": set()}
        assert 0 < len(taught["train"]) < len(sure)
        soft = next(one for one in make_callbacks(job) if hasattr(one, "teacher"))
        soft.read(data.table["id"].tolist(), 4)
        assert soft.known[data.rows("train")].all()
    table = pd.read_csv(run / "folds.csv")
    assert not table["id"].str.startswith("unlabelled").any()


def predictions_of(job, pictures):
    from common.run.members import Member
    from common.run.predictor import Ensemble

    paths = sorted(pictures.glob("*.png"))
    found = Ensemble("arithmetic", [Member(job)]).predict([path.name for path in paths], paths, 16, [])
    return np.stack([row for _, row in sorted(found)])


def test_the_whole_road_is_walked_in_a_smoke_run(toy_module, tmp_path):
    config = toy_module(*STAGED, "trainer=smoke", f"run_dir={tmp_path / 'run'}")
    train({**config, "launcher": {"_target_": f"{__name__}.InThisProcess"}})
    assert folder.is_done(tmp_path / "run")
