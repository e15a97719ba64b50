"""Stages: each is the common recipe with its own layer, and what cannot be is refused by name."""

import pytest

from common.config.compose import compose_with_sources
from common.errors import PodiumError
from common.run.jobs import jobs_of


def composed(*words: str):
    return compose_with_sources(["competition=calligraphy", *words])


def distilled(*words: str):
    return composed("experiment=self_distillation", *words)


def test_a_stage_differs_from_the_common_recipe_by_its_own_layer_alone():
    found = distilled("stages.student.recipe.loss=focal", "stages.student.recipe.trainer.max_steps=4")
    teacher, student = found.stages["teacher"].config, found.stages["student"].config
    assert "Focal" not in teacher.loss._target_ and teacher.loss.smoothing == 0.1
    assert teacher.trainer.max_epochs == 8 and teacher.callbacks.soft_labels is None
    assert student.loss._target_.endswith("Focal") and student.loss.smoothing == 0.0
    assert (student.trainer.max_steps, student.trainer.max_epochs) == (4, None)
    assert student.callbacks.soft_labels.hard_weight == 0.6
    assert set(found.config.stages.student.recipe) == {"loss", "callbacks", "trainer", "choices"}
    assert found.config.stages.teacher.recipe == {}


def test_the_command_line_is_for_all_stages_and_a_stages_own_words_win_over_it(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "two.yaml").write_text(
        "stages: {a: {recipe: {trainer: {max_epochs: 5}}}, b: {recipe: {defaults: [override /loss: focal]}}}"
    )
    words = ["competition=calligraphy", "experiment=two"]
    plain = compose_with_sources(words, [tmp_path]).stages
    assert [plain[name].config.trainer.max_epochs for name in "ab"] == [5, 8]
    assert plain["b"].config.loss._target_.endswith("Focal")
    words += ["trainer.max_epochs=2", "stages.b.recipe.trainer.max_epochs=3"]
    given = compose_with_sources(words, [tmp_path]).stages
    assert [given[name].config.trainer.max_epochs for name in "ab"] == [2, 3]


def test_soft_labels_said_for_all_stages_are_for_those_that_have_a_teacher():
    stages = distilled("callbacks.soft_labels.hard_weight=0.5").stages
    assert stages["teacher"].config.callbacks.soft_labels is None
    assert stages["student"].config.callbacks.soft_labels.hard_weight == 0.5


def test_jobs_are_the_composed_recipes(tmp_path):
    found = distilled("stages.student.recipe.seed=7", "stages.student.init_from=teacher")
    from omegaconf import OmegaConf

    waves = jobs_of(OmegaConf.to_container(found.config))
    assert [[job.name for job in wave] for wave in waves] == [
        [f"{stage}_fold{fold}" for fold in range(5)] for stage in ("teacher", "student")
    ]
    for wave in waves:
        expected = OmegaConf.to_container(found.stages[wave[0].stage].config)
        del expected["stages"]
        for job in wave:
            assert {key: value for key, value in job.config.items() if key != "job"} == expected
    assert all(job.needs == () for job in waves[0])
    assert waves[1][2].needs == tuple(f"teacher_fold{fold}" for fold in range(5))
    assert [job.config["job"]["number"] for wave in waves for job in wave] == list(range(1, 11))


def test_start_weights_need_the_same_fold_only():
    from omegaconf import OmegaConf

    found = composed("stages.a.folds=3", "stages.b.folds=3", "stages.b.init_from=a")
    waves = jobs_of(OmegaConf.to_container(found.config))
    assert [job.needs for job in waves[1]] == [("a_fold0",), ("a_fold1",), ("a_fold2",)]


def test_without_stages_there_is_one_job_without_folds():
    from omegaconf import OmegaConf

    ((job,),) = jobs_of(OmegaConf.to_container(composed().config))
    assert (job.name, job.config["job"]["fold"], job.config["job"]["of"]) == ("train_fold0", None, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages.student.fold=3"], "no key stages.student.fold; did you mean stages.student.folds"),
        (["stages.student.folds=x"], 'stages.student.folds must be an int or null, got "x"'),
        (["stages.student.folds=1"], "stages.student.folds must be at least 2 or null, got 1"),
        (["stages.student.folds=3"], "teacher has 5 and student 3"),
        (["stages.student.soft_labels_from=techer"], r'"techer" \(did you mean teacher\?\)'),
        (["stages.teacher.init_from=student"], "student does not come before this stage"),
        (["stages.teacher.folds=null"], "teacher needs folds"),
        (
            ["stages.student.folds=null", "stages.student.init_from=teacher"],
            "must both have folds or both none",
        ),
        (["stages.student.recipe.run_dir=x"], "run_dir is said for the whole run"),
        (["stages.student.recipe.loss=focl"], r"no loss=focl \(did you mean focal\?\)"),
        (["stages.student.recipe.trainer.max_epoch=3"], "no key trainer.max_epoch; did you mean"),
        (["stages.student.recipe=3"], "expected keys and values, got 3"),
        (["stages.Student.folds=5"], "stages.Student: a stage's name"),
        (["callbacks.soft_labels=null"], "stages.student.soft_labels_from needs callbacks.soft_labels"),
        (
            ["callbacks.soft_labels.path=a.parquet"],
            "callbacks.soft_labels.path and stages.student.soft_labels_from",
        ),
        (["stages.student.recipe.data.score=0.3"], "data.score is said for the whole run"),
        (
            ["stages.student.clean_from=techer"],
            r"student.clean_from must be an earlier stage.*did you mean teacher",
        ),
        (["stages.student.clean_by=orignal"], "clean_by must be one of out_of_fold, original"),
        (["stages.student.clean_from=teacher", "stages.student.clean_by=original"], "teacher has folds"),
        (["stages.student.folds=null", "stages.more.clean_from=student"], "student needs folds"),
        (["stages.student.stable_classes=a.csv"], "stable_classes goes with clean_from"),
        (
            ["stages.student.clean_from=teacher", "stages.student.stable_classes=a.csv"],
            "there is no file a.csv",
        ),
        (["stages.student.stable_score=2"], r"stable_score must be in \[0, 1\]"),
        (["on_failure=stopp"], r"on_failure must be one of continue, stop; got .*did you mean stop"),
    ],
)
def test_what_cannot_be_is_refused_by_name(words, message):
    with pytest.raises(PodiumError, match=message):
        distilled(*words)


def test_soft_labels_without_table_or_teacher_are_refused():
    with pytest.raises(PodiumError, match=r"callbacks.soft_labels.path: name a table"):
        composed("callbacks.soft_labels={}")
