"""Report and summary of a real, small run."""

import io
import json
import re

import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import precision_recall_fscore_support

from common.activity import duration
from common.data import predictions
from common.errors import PodiumError
from common.report.report import write_report
from common.report.results import read_results
from common.report.summary import formatted, print_summary
from common.run import folder
from common.run.environment import measured


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    from common.train.train import train

    run = tmp_path_factory.mktemp("runs") / "one"
    config = toy_module("trainer.max_epochs=2", f"run_dir={run}")
    train(config)
    return run


def test_the_report_is_one_file_without_links_outside(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 3
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    scores = folder.load_json(run / "scores.json")
    assert formatted("top1", scores["valid_top1"]) in page
    for number, name in enumerate(("bar", "cross", "ring", "slash")):  # as pictures without a font name them
        assert f'<td>{number}</td><td class="text">{name}</td>' in page
    assert "SAMPLE DATA" not in page


def test_scores_per_class_equal_sklearn(run):
    table, rows = predictions.read(run / "jobs" / "train_fold0" / "predictions.parquet")
    expected = precision_recall_fscore_support(table["label"], rows.argmax(axis=1), labels=range(4))
    found = folder.load_json(run / "scores.json")["per_class"]
    for number, row in enumerate(found):
        for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
            if row[name] is not None:  # undefined where sklearn says zero
                assert row[name] == pytest.approx(values[number])


def test_names_are_escaped_and_sample_data_is_said(run):
    scores = folder.load_json(run / "scores.json")
    scores["per_class"][0]["class"] = "<b>bold</b>"
    config = folder.load_config(run)
    config["data"]["sample"] = True
    copy = run.parent / "copy"
    copy.mkdir()
    folder.write_json(copy / "scores.json", scores)
    folder.write_config(copy, config)
    page = write_report(copy).read_text(encoding="utf-8")
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold" not in page
    assert "SAMPLE DATA" in page


def test_a_run_with_nothing_in_it_still_has_a_report(tmp_path):
    assert "no scores yet" in write_report(tmp_path).read_text(encoding="utf-8")
    with pytest.raises(PodiumError, match="is not a folder"):
        write_report(tmp_path / "missing")


def test_the_summary_is_plain_when_piped_and_names_the_next_commands(run):
    out = io.StringIO()
    print_summary(run, Console(file=out, width=80))
    said = out.getvalue()
    assert "\r" not in said and "\x1b" not in said
    assert f"RUN={run}" in said and "make predict COMP=toy" in said and "report.html" in said
    assert formatted("top1", folder.load_json(run / "scores.json")["valid_top1"]) in said


def test_levels_views_and_what_was_left_out_are_told(run):
    copy = run.parent / "told"
    copy.mkdir()
    folder.write_json(copy / "scores.json", {"valid_top1": 0.5, "valid_group_top1": 0.7531, "images": 4})
    config = folder.load_config(run)
    views = {"raw": {"_target_": "common.callbacks.tta.Raw"}}
    config["callbacks"]["tta"] = {"_target_": "common.callbacks.tta.TTA", "views": views}
    folder.write_config(copy, config)
    (copy / "bad_images.csv").write_text("path,reason\na.png,is empty\n")
    (copy / "bad_labels.csv").write_text("file,reason\nimg_1.txt,has <two> lines\nimg_2.txt,is empty\n")
    page = write_report(copy).read_text(encoding="utf-8")
    out = io.StringIO()
    print_summary(copy, Console(file=out, width=200))
    for said in (page, out.getvalue()):
        assert "group top-1" in said and "75.31 %" in said and "mean over test-time views" in said
    assert "Labels left out: 2" in page and "has &lt;two&gt; lines" in page and "a.png" in page
    assert "left out: 1 bad images" in out.getvalue() and "left out: 2 bad labels" in out.getvalue()
    assert "mean over test-time views" not in (run / "report.html").read_text(encoding="utf-8")


def test_scores_are_shown_as_people_read_them():
    assert [formatted("top1", 0.98504), formatted("loss", 0.12345), formatted("images", 12.0)] == [
        "98.50 %",
        "0.1235",
        "12",
    ]
    assert formatted("top5", float("nan")) == "–"


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ({"epoch": [1, 2, 3], "valid_top1": [0.5, 0.9, 0.7]}, f"{0.9 - 0.7:.4f} of valid_top1 (mean of 2"),
        ({"epoch": [1, 2, 3], "valid_top1": [0.5, 0.9, None]}, "0.0000 of valid_top1 (mean of 2"),
        ({"epoch": [1, 2], "valid_top1": [None, None]}, None),
        ({"epoch": [1, 2], "valid_top1": ["?", "?"]}, None),
        ({"valid_top1": [0.5, 0.9]}, None),
    ],
)
def test_what_choosing_by_a_folds_labels_costs_is_read_from_any_history(tmp_path, history, said):
    """Epoch 2 was chosen; a history that is damaged or has no numbers leaves the sentence out."""
    stages = {"teacher": {"folds": 2}, "student": {"soft_labels_from": "teacher"}}
    folder.write_text(tmp_path / "config.yaml", json.dumps({"stages": stages, "best": {"valid_top1": "max"}}))
    for fold in range(2):
        job = tmp_path / "jobs" / f"teacher_fold{fold}"
        job.mkdir(parents=True)
        pd.DataFrame(history).to_csv(job / "history.csv", index=False)
        folder.write_json(job / "scores.json", {"epoch": 2})
    found = [line for line in read_results(tmp_path).remarks() if line.startswith("teacher: ")]
    assert len(found) == (said is not None) and (said is None or said in found[0])


def test_report_and_environment_say_the_threads_and_the_seconds_of_training(toy, tmp_path, clock):
    from common.train.train import train

    words = ("trainer.threads=3", "+callbacks.tick={_target_: tests.toys.Tick, seconds: 10}")
    run = train(toy(f"run_dir={tmp_path / 'run'}", *words))
    steps = int(pd.read_csv(run / "jobs/train_fold0/history.csv")["step"].max())
    known = json.loads((run / "environment.json").read_text())
    assert known["threads"] == 3
    assert known["training_seconds"] == 10 * steps
    assert f"<dt>training time</dt><dd>{duration(10 * steps)}</dd>" in (run / "report.html").read_text()


def test_jobs_that_had_other_threads_are_told_apart_and_their_seconds_added_up(tmp_path):
    for name, threads, seconds in (("a", 1, [5, 7.5]), ("b", 2, [1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment.json").write_text(json.dumps({"threads": threads}))
        pd.DataFrame({"seconds": seconds}).to_csv(tmp_path / name / "history.csv")
    (tmp_path / "only predicts").mkdir()
    known = measured({"cpus": 4}, sorted(path for path in tmp_path.iterdir()))
    assert known == {"cpus": 4, "threads": [1, 2], "training_seconds": 8.5}
