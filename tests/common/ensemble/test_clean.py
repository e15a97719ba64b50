"""Cleaning in whole runs: what the list says, who is judged by whom, and that nothing held out has a say."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from common.data import predictions
from common.ensemble import clean
from common.ensemble.candidates import Candidate
from common.ensemble.clean import judgements, write_reliable
from common.ensemble.clean_rules import doubtful
from common.ensemble.soup import cook
from common.errors import PodiumError
from common.run import folder
from common.run.components import make_data
from common.run.jobs import jobs_of, out_of_fold_path
from common.train.train import train
from tests.toys import CLASSES

STAGE = {"folds": None, "init_from": None, "soft_labels_from": None, "recipe": {}, "clean_from": None}
STAGE |= {"clean_by": "out_of_fold", "stable_classes": None, "stable_score": 0.75}
STAGES = {
    "judge": STAGE | {"folds": 2},
    "start": STAGE,
    "plain": STAGE | {"init_from": "start"},
    "believed": STAGE | {"clean_from": "judge"},
    "right": STAGE | {"clean_from": "plain", "clean_by": "original", "init_from": "plain"},
}


@pytest.fixture(scope="module")
def config(toy_module):
    found = toy_module("trainer.max_epochs=2", "data.score=0.1", "callbacks.weight_averaging.decay=0.5")
    launcher = {"_target_": "tests.common.train.test_stages.InThisProcess"}
    return {**found, "stages": STAGES, "launcher": launcher}


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return train({**config, "run_dir": str(tmp_path_factory.mktemp("runs") / "clean")})


def test_only_a_share_of_the_images_is_judged_the_training_part(run):
    split = pd.read_csv(run / "folds.csv").set_index("id")
    train_ids = sorted(split.index[split["part"] == "train"])
    for name in ("reliable_train", "reliable_train_right"):
        found = pd.read_csv(run / f"{name}.csv")
        assert found["id"].tolist() == train_ids
        assert found["class"].tolist() == split["class"].loc[train_ids].tolist()
        assert (
            found.columns.tolist() == ["id", "class", "kept", "reason", "repeat"]
            and found["reason"].notna().all()
        )
        pd.testing.assert_frame_equal(found, pd.read_parquet(run / f"{name}.parquet"), check_dtype=False)
        assert set(found["class"][found["kept"]]) == set(CLASSES)


def test_the_lists_are_what_the_models_say(run):
    frame, rows = predictions.read(out_of_fold_path(run, "judge"))
    labels = frame["label"].to_numpy()
    doubted = doubtful(labels, rows.argmax(1), rows.max(1), rows[np.arange(len(labels)), labels])
    found = pd.read_csv(run / "reliable_train.csv").set_index("id")["kept"].loc[frame["id"]].to_numpy()
    assert (found >= ~doubted).all() and (found == ~doubted).sum() >= len(found) - len(CLASSES)
    own = judgements(run / "cleaning" / "plain.parquet").set_index("id")
    found = pd.read_csv(run / "reliable_train_right.csv").set_index("id")
    assert (found["kept"] >= (own["predicted"] == own["label"])).all()


def test_a_soup_of_a_cleaned_stage_is_of_what_its_list_keeps(run, tmp_path):
    out, own = tmp_path / "blend", run / "jobs" / "believed_fold0"
    out.mkdir()
    folder.copy(run / "folds.csv", out / "folds.csv")
    cook(out / "jobs" / "soup_fold0", [Candidate(run, own)], "uniform", "score", lambda *_: 0.0)
    there, here = (make_data(folder.load_config(job), job.parent.parent)
                   for job in (own, out / "jobs" / "soup_fold0"))  # fmt: skip
    there.setup(), here.setup()
    assert here.rows("train").tolist() == there.rows("train").tolist()
    assert len({*here.rows("train")}) < (here.table["part"] == "train").sum()
    (run / "reliable_train.parquet").rename(tmp_path / "away")
    with pytest.raises(PodiumError, match=r"soup: there is no .*/clean/reliable_train.parquet, which says"):
        cook(tmp_path / "more" / "jobs" / "soup_fold0", [Candidate(run, own)], "uniform", "score", len)
    (tmp_path / "away").rename(run / "reliable_train.parquet")


def test_a_stage_trains_on_what_its_list_keeps(run):
    for stage, name in (("believed", "reliable_train"), ("right", "reliable_train_right"), ("plain", None)):
        data = make_data(folder.load_config(run / "jobs" / f"{stage}_fold0"), run)
        data.setup()
        times = data.table["id"].iloc[data.rows("train")].value_counts()
        if name is None:
            assert (times == 1).all()
            continue
        expected = pd.read_csv(run / f"{name}.csv").set_index("id")["repeat"]
        assert times.sort_index().to_dict() == expected[expected > 0].sort_index().to_dict()


def test_jobs_wait_for_those_that_judge(config):
    needs = {job.name: job.needs for wave in jobs_of(config) for job in wave}
    assert needs["believed_fold0"] == ("judge_fold0", "judge_fold1")
    assert needs["right_fold0"] == ("plain_fold0",)


def test_no_checkpoint_that_validation_chose_leads_to_a_judge(run):
    began = {
        job: folder.load_json(run / "jobs" / f"{job}_fold0" / "init.json")["from"]
        for job in ("plain", "right")
    }
    assert began["plain"].endswith("start_fold0/last.ckpt") and began["right"].endswith(
        "plain_fold0/best.ckpt"
    )


def test_stages_that_are_cleaned_alike_share_a_list(config):
    again = {**STAGES, "more": STAGES["right"], "by_hand": STAGE | {"clean_from": "a.csv"}}
    jobs = [job for wave in jobs_of({**config, "stages": again}) for job in wave]
    lists = {job.stage: job.config["job"]["clean"] and job.config["job"]["clean"]["list"] for job in jobs}
    assert lists == {
        "judge": None, "start": None, "plain": None, "believed": "reliable_train", "right": "reliable_train_right",
        "more": "reliable_train_right", "by_hand": None,
    }  # fmt: skip


def test_labels_that_are_held_out_have_no_say(run, config, tmp_path):
    """The same run, but every label outside of the training part is another: the lists are equal to the byte."""
    split = pd.read_csv(run / "folds.csv")
    held_out = split[split["part"] != "train"]
    others = {name: CLASSES[(number + 1) % len(CLASSES)] for number, name in enumerate(CLASSES)}
    held_out.assign(**{"class": held_out["class"].map(others)})[["id", "class"]].to_csv(
        tmp_path / "c.csv", index=False
    )
    data = {**config["data"], "split": str(run / "folds.csv"), "corrections": str(tmp_path / "c.csv")}
    data["correct_held_out"] = True
    scrambled = train({**config, "data": data, "run_dir": str(tmp_path / "scrambled")})
    for name in ("reliable_train.csv", "reliable_train_right.csv"):
        assert (scrambled / name).read_bytes() == (run / name).read_bytes()
    before, after = (folder.load_json(one / "scores.json") for one in (run, scrambled))
    assert before["valid_top1"] != after["valid_top1"]  # they have been scrambled indeed


def test_three_numbers_an_image_are_read_from_tables_of_many_classes(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(600, 0.05), 40).astype(np.float32)
    labels, ids = rng.integers(0, 600, 40), [f"{i:02}" for i in range(40)]
    labels[:20] = rows[:20].argmax(1)
    predictions.write(tmp_path / "p.parquet", ids, labels, rows)
    found = judgements(tmp_path / "p.parquet")
    _, dense = predictions.read(tmp_path / "p.parquet")
    assert (found["predicted"] == dense.argmax(1)).all() and np.allclose(found["probability"], dense.max(1))
    np.testing.assert_array_equal(found["own"], rows[np.arange(40), labels])  # the label's own, kept or not
    old = pq.read_table(tmp_path / "p.parquet").drop_columns(["own", "rank"])  # as tables of before are
    pq.write_table(old, tmp_path / "p.parquet")
    spread = judgements(tmp_path / "p.parquet")["own"]
    np.testing.assert_allclose(spread, dense[np.arange(40), labels], rtol=1e-6)


def test_a_broken_off_run_makes_its_list_again_when_the_judges_have_changed(run, config):
    path = run / "reliable_train.parquet"
    believed = folder.load_config(run / "jobs" / "believed_fold0")
    before = path.stat().st_mtime_ns
    write_reliable(run, believed)
    assert path.stat().st_mtime_ns == before
    (run / "jobs" / "judge_fold1" / "done").touch()
    write_reliable(run, believed)
    assert path.stat().st_mtime_ns > before


def test_a_killed_cleaning_pass_goes_on_after_the_parts_that_are_written(run, monkeypatch, capsys):
    path = run / "cleaning" / "plain.parquet"
    whole, _ = predictions.read(path)
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(clean, "KEPT_ROWS", 10)
    asked, plain, ends = [], clean.write_predictions, [run / "jobs" / "plain_fold0" / "done"]

    def killed_in_the_third(path, module, data, rows, accelerator):
        asked.append(len(rows))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return plain(path, module, data, rows, accelerator)

    monkeypatch.setattr(clean, "write_predictions", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        clean._own_predictions(run, "plain", ends)
    assert clean._own_predictions(run, "plain", ends) == path
    assert asked == [10, 10, *(asked[2:])] and sum(asked) == len(whole) + asked[2]
    frame, rows = predictions.read(path)
    path.write_bytes(before)
    pd.testing.assert_frame_equal(frame, whole)
    np.testing.assert_allclose(rows, predictions.read(path)[1], atol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["plain.parquet"]
    assert f"predicts its own {len(whole)} training images" in capsys.readouterr().out
