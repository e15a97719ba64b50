"""Sweeps: every trial once, whatever happens in between, and mistakes named before the first starts.

Trials are a script that stands in for training: it writes what a run leaves, its score a function of its words.
"""

import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from common.errors import PodiumError
from common.run.folder import lock
from common.sweep import multirun as trials_of_swept_values
from common.sweep import run_sweep, trials
from common.sweep import sweep as trials_of_a_table
from common.sweep.multirun import multirun
from common.sweep.sweep import sweep
from tests.conftest import TOY
from tests.toys import write_images

ROOT = Path(__file__).parents[3]
STAND_IN = """
import json, pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:])
run, seed = pathlib.Path(words["run_dir"].strip("'")), int(words["seed"])
with open("log.txt", "a") as log:
    log.write(run.parent.name + "/" + run.name + "\\n")
kind = words.get("loss.smoothing", "0")
if pathlib.Path("broken").exists() and kind == "0.3":
    sys.exit(3)
if "weights_from" in words:
    assert pathlib.Path(words["weights_from"].strip("'"), "done").exists()
run.mkdir(parents=True)
(run / "config.yaml").write_text("data: {sample: true}")
(run / "scores.json").write_text(json.dumps({"valid_top1": 0.5 + float(kind) + 0.01 * seed}))
(run / "done").touch()
"""
TABLE = """
label: a short schedule
baseline: plain
seeds: [0, 1]
common: [trainer.max_epochs=1]
rows:
  plain: {}
  smooth: {overrides: [loss.smoothing=0.3]}
  views: {weights_from: smooth, overrides: ["callbacks.tta={}"]}
"""


compose_once = functools.cache(lambda words: trials.composed(words, ["conf"]))


@pytest.fixture(autouse=True)
def toy_table(tmp_path, monkeypatch):
    """A toy competition and the table above in the working directory, and the stand-in for training."""
    monkeypatch.chdir(tmp_path)
    for module in (trials_of_a_table, trials_of_swept_values):  # the same words give the same in all tests
        monkeypatch.setattr(
            module, "composed", lambda words, config_dirs: deepcopy(compose_once(tuple(words)))
        )
    for name, text in {"competition/toy": TOY.format(root="images"), "sweep/table": TABLE}.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (tmp_path / "images").mkdir()
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    command = run_sweep._command

    def stand_in(*arguments):
        words = [word for word in command(*arguments)[4:] if not word.startswith("--")]
        return [sys.executable, "-S", str(tmp_path / "stand_in.py"), *words]

    monkeypatch.setattr(run_sweep, "_command", stand_in)


def run(*words, verb=sweep):
    chosen = ("sweep=table",) if verb is sweep else ()
    return verb(["--config-dir=conf", "competition=toy", *chosen, *words])


def folders():
    return sorted(Path("runs/toy").glob("*_sweep_table*"))


def log():
    return Path("log.txt").read_text().split()


def places(root):
    with (root / "ranking.csv").open() as file:
        return {row["row"]: row for row in csv.DictReader(file)}


def test_every_row_is_run_with_every_seed_and_ranked_against_the_baseline(capsys):
    assert run() == 0
    (root,) = folders()
    assert sorted(log()[:4]) == ["plain/seed0", "plain/seed1", "smooth/seed0", "smooth/seed1"]
    assert log()[4:] == ["views/seed0", "views/seed1"]  # once there are weights for it
    table = places(root)
    assert [table[name]["place"] for name in ("smooth", "views", "plain")] == ["1", "1", "3"]
    assert float(table["smooth"]["difference"]) == pytest.approx(0.3)
    said = capsys.readouterr().out
    numbers = re.findall(r"^trial (\d+) of 6: (\S+)", said, re.M)
    assert [int(number) for number, _ in numbers] == [1, 2, 3, 4, 5, 6]
    assert [name for _, name in numbers][-2:] == ["views/seed0", "views/seed1"]
    for text in (said, (root / "ranking.md").read_text()):
        assert "a short schedule" in text and "SAMPLE DATA" in text and "80.50 ± 0.71 %" in text
    assert (root / "ranking.png").read_bytes()[:4] == b"\x89PNG"
    assert (root / "done").exists()


def test_a_trial_that_fails_is_named_and_tried_again_by_the_same_command(capsys):
    Path("broken").touch()
    assert run() == 1
    (root,) = folders()
    last = capsys.readouterr().out.splitlines()[-4:]
    assert (
        last[0] == f"failed with code 3: {root}/smooth/seed0"
        and last[2] == f"not started: {root}/views/seed0"
    )
    assert places(root)["smooth"]["state"] == "seeds 0, 1 failed with code 3"
    assert places(root)["smooth"]["place"] == "" and "| failed |" in (root / "ranking.md").read_text()
    Path("broken").unlink()
    before = len(log())
    assert run() == 0
    assert folders() == [root]
    assert log()[before:] == ["smooth/seed0", "smooth/seed1", "views/seed0", "views/seed1"]
    assert not places(root)["smooth"]["state"]


def test_after_a_failure_nothing_more_is_started_if_so_asked():
    Path("broken").touch()
    assert run("on_failure=stop") == 1
    assert log() == ["plain/seed0", "plain/seed1", "smooth/seed0"]


def test_a_finished_sweep_is_begun_anew_and_a_named_one_only_shown_again(capsys):
    assert run("run_dir=mine", "seeds=[0]") == 0 and not folders()
    assert run("run_dir=mine", "seeds=[0]") == 0 and len(log()) == 3
    assert "finished already" in capsys.readouterr().out
    assert run("seeds=[0]") == run("seeds=[0]") == 0
    assert len(folders()) == 2


def test_new_starts_afresh_and_other_content_is_another_sweep():
    Path("broken").touch()
    run()
    run("new=true")
    run("seeds=[5]")
    assert len(folders()) == 3
    run("seeds=[5]", "on_failure=stop", "launcher=joblib", "launcher.jobs=2")  # how, not what
    assert len(folders()) == 3


def test_other_content_in_a_named_folder_is_refused_with_the_keys_that_differ():
    run("run_dir=mine", "seeds=[0]")
    with pytest.raises(PodiumError, match=r"rows\.plain\.config\.optimizer\.lr: .* → 0\.5"):
        run("run_dir=mine", "seeds=[0]", "optimizer.lr=0.5")
    with pytest.raises(PodiumError, match=r"(?s)trials\.plain/seed3: None → .*seed.*: 3"):
        run("run_dir=mine", "seeds=[0,3]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"baseline": "plan"},
            r"conf/sweep/table.yaml: baseline must be one of plain, .*\(did you mean plain",
        ),
        ({"rows": {}}, "conf/sweep/table.yaml: rows must have"),
        (
            {"rows": {"plain": {"overides": []}}},
            "conf/sweep/table.yaml: .*overides.* did you mean .*overrides",
        ),
        ({"rows": {"a/b": {}}, "baseline": "a/b"}, "rows.a/b: a row's name"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"common": ["seed=3"]}, "seed=3: a sweep sets this"),
        ({"common": ["loss.smothing=1"]}, "conf/sweep/table.yaml: rows.plain: .*did you mean loss.smoothing"),
    ],
)
def test_a_mistake_in_the_table_is_named_before_anything_runs(change, message):
    file = Path("conf/sweep/table.yaml")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change, sort_keys=False))
    with pytest.raises(PodiumError, match=f"(?s){message}"):
        run()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["on_failure=stopp"], "on_failure must be one of continue, stop"),
        (["launcher=job"], "there is no launcher=job.*joblib"),
        (["seeds=3"], "seeds must be a list"),
        (["seed=3"], r"seed=3: a sweep sets this .* seeds=\[0,1,2\]"),
        (["sweep=tabel"], "there is no sweep=tabel.*did you mean table"),
        (["optimizer.lrr=1"], "did you mean optimizer.lr"),
    ],
)
def test_a_mistake_in_the_words_is_named_before_anything_runs(words, message):
    with pytest.raises(PodiumError, match=f"(?s){message}"):
        run(*words)
    assert not Path("runs").exists()


def test_multirun_ranks_combinations_over_seeds_and_goes_on_where_it_stopped(capsys):
    Path("broken").touch()
    words = ("loss.smoothing=0.1,0.3", "seed=0,1", "trainer.max_epochs=1")
    assert run(*words, verb=multirun) == 1
    (root,) = Path("runs/toy").glob("*_multirun")
    assert {path.parent.name for path in root.glob("*/done")} == {"0", "1"}
    assert set(places(root)) == {"loss.smoothing=0.1", "loss.smoothing=0.3"}
    Path("broken").unlink()
    before = len(log())
    assert run(*words, verb=multirun) == 0
    assert len(log()) == before + 2
    assert float(places(root)["loss.smoothing=0.3"]["difference"]) == pytest.approx(0.2)
    assert "going on with the unfinished" in capsys.readouterr().out
    with pytest.raises(PodiumError, match="seed=0 is given twice"):
        run("seed=0,0", verb=multirun)


def test_every_table_composes_and_its_rows_differ():
    from common.config.layers import search_path
    from common.sweep.sweep import _row, read_table

    path = search_path([])
    for name in path.options("sweep"):
        table, file = read_table(path, name), path.file("sweep", name)
        competition = next(option for option in path.options("competition") if name.startswith(option))
        rows = [_row(table, row, [f"competition={competition}"], [], file).config for row in table.rows]
        distinct = {json.dumps({**config, "choices": None}, sort_keys=True) for config in rows}
        assert len(distinct) == len(rows) and table.label


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_sweep_survives_a_kill_and_signals_and_trains_for_real(tmp_path):
    """Killed in the first trial, then stopped by a signal, then run to its end, with weights taken over."""
    write_images(tmp_path / "pictures", per_class=8)
    (tmp_path / "conf/competition/toy.yaml").write_text(TOY.format(root=tmp_path / "pictures"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    words = ["sweep", "--config-dir=conf", "competition=toy", "sweep=table", "seeds=[0]", "run_dir=mine"]

    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "common", *words], env=environment, stdout=subprocess.DEVNULL
        )

    for signum, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        process = start()
        while process.poll() is None and not list(tmp_path.glob("mine/plain/seed0/jobs/*/lock")):
            time.sleep(0.05)
        process.send_signal(signum)
        assert process.wait() == code
        assert not list(tmp_path.glob("mine/*/seed0/done"))
        for file in tmp_path.glob("mine/plain/seed0/jobs/*/lock"):
            with lock(file.parent, wait=True):  # until what it had started is gone
                file.unlink()
    assert start().wait() == 0
    table = places(tmp_path / "mine")
    assert (
        table["smooth"]["valid_top1"] == table["views"]["valid_top1"] != ""
    )  # the one view is the raw picture
