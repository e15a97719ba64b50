"""Stages and folds: which jobs a run consists of, and what each needs of those before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import PodiumError
from common.run import folder
from common.run.members import class_names, read_folds

# Keys of a stage that say which training images it leaves out.
CLEANING = ("clean_from", "clean_by", "stable_classes", "stable_score")


@dataclass(frozen=True)
class Job:
    """One training of one model within a run.

    fold is the one that it validates, 0 for a stage without folds. needs: names of the jobs whose files it reads.
    config: the whole recipe of its stage, and under `job` where it stands.
    """

    stage: str
    fold: int
    needs: tuple[str, ...]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return job_name(self.stage, self.fold)


def job_name(stage: str, fold: int) -> str:
    """The name of a job's folder below `jobs/`."""
    return f"{stage}_fold{fold}"


def stages_of(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Stage → its settings, in order; without any, a single one named train."""
    plain: dict[str, Any] = {
        "folds": None, "init_from": None, "soft_labels_from": None, "recipe": {},
        "clean_from": None, "clean_by": "out_of_fold", "stable_classes": None, "stable_score": 0.75,
    }  # fmt: skip
    return config["stages"] or {"train": plain}


def fold_count(config: dict[str, Any]) -> int | None:
    """The number of folds that the run's images are divided into; None if no stage has folds."""
    return next((stage["folds"] for stage in stages_of(config).values() if stage["folds"]), None)


def jobs_of(config: dict[str, Any]) -> list[list[Job]]:
    """The jobs of each stage, in order: one for each fold, or a single one.

    config: a run's, with its data root filled in.
    """
    waves: list[list[Job]] = []
    stages = stages_of(config)
    count = sum(stage["folds"] or 1 for stage in stages.values())
    unseen = _lead_to_judges(stages)
    for name, stage in stages.items():
        recipe = stage["recipe"]
        of_data = {key: config["data"].get(key) for key in ("root", "sample") if key in config["data"]}
        whole = {**config, **recipe, "data": {**recipe.get("data", config["data"]), **of_data}}
        del whole["stages"]
        wave = []
        for fold in range(stage["folds"] or 1):
            place = {
                "stage": name,
                "fold": fold if stage["folds"] else None,
                "folds": fold_count(config),
                "number": sum(map(len, waves)) + fold + 1,
                "of": count,
                "init_from": stage["init_from"],
                "init_at": "last.ckpt" if name in unseen else "best.ckpt",
                "soft_labels_from": stage["soft_labels_from"],
                "clean": _clean(name, stages),
            }
            wave.append(Job(name, fold, _needs(stage, stages, fold), {**whole, "job": place}))
        waves.append(wave)
    return waves


def _lead_to_judges(stages: dict[str, dict[str, Any]]) -> set[str]:
    """Stages whose model cleans training images (`clean_by: original`) and those that it began with.

    They start from the end of the stage before: its best checkpoint was chosen by validation labels, which must have no
    say in what is trained on.
    """
    found: set[str] = set()
    for stage in stages.values():
        name = stage["clean_from"] if stage["clean_by"] == "original" else None
        while name in stages and name not in found:
            found.add(name)
            name = stages[name]["init_from"]
    return found


def _needs(stage: dict[str, Any], stages: dict[str, dict[str, Any]], fold: int) -> tuple[str, ...]:
    """Start weights come from the same fold; soft labels and what cleaning goes by from all of a stage's."""
    init, teacher, judge = stage["init_from"], stage["soft_labels_from"], stage["clean_from"]
    needed = {job_name(init, fold)} if init in stages else set()
    if teacher in stages:
        needed |= {job_name(teacher, other) for other in range(stages[teacher]["folds"])}
    if judge in stages:
        needed |= {job_name(judge, other) for other in range(stages[judge]["folds"] or 1)}
    return tuple(sorted(needed))


def _clean(name: str, stages: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """How a stage is cleaned, and the name of the run's list that says so; stages cleaned alike share one."""
    settings = {other: {key: stage[key] for key in CLEANING} for other, stage in stages.items()}
    if settings[name]["clean_from"] is None:
        return None
    alike = [other for other in stages if settings[other] == settings[name]]
    made = [other for other in stages if settings[other]["clean_from"] in stages]
    of_run = (
        f"reliable_train_{alike[0]}" if made and settings[made[0]] != settings[name] else "reliable_train"
    )
    return settings[name] | {"list": of_run if name in made else None}


def reliable_list(config: dict[str, Any], run: Path) -> Path | None:
    """The list of the images that a job trains on, see common/data/edits/kept_list.py; None: without cleaning."""
    clean = config["job"].get("clean")
    if clean is None:
        return None
    return run / f"{clean['list']}.parquet" if clean["list"] else Path(clean["clean_from"])


def init_checkpoint(config: dict[str, Any], run: Path) -> Path | None:
    """The checkpoint that a job's weights start from, or None.

    It is that of the same fold of an earlier stage, of the last stage of another run, or a file. Of an earlier stage it
    is the best, or the last where the job leads to one that cleans.
    """
    origin, fold = config["job"]["init_from"], config["job"]["fold"] or 0
    if origin is None:
        return None
    of_stage = run / "jobs" / job_name(origin, fold)
    if of_stage.is_dir():
        last = of_stage / config["job"].get("init_at", "best.ckpt")
        return last if last.exists() else of_stage / "best.ckpt"
    path = Path(origin)
    if path.is_file():
        return path
    final = list(stages_of(folder.load_config(path)))[-1]
    found = path / "jobs" / job_name(final, fold)
    if not folder.is_done(found):
        raise PodiumError(f"init_from: there is no finished {found} to start fold {fold} from")
    return found / "best.ckpt"


def soft_labels_table(config: dict[str, Any], run: Path) -> Path | None:
    """The table that a job's teacher wrote, or None: of an earlier stage, of another run's last stage, or a file."""
    origin = config["job"]["soft_labels_from"]
    if origin is None:
        return None
    of_stage = out_of_fold_path(run, origin)
    if of_stage.exists():
        return of_stage
    path = Path(origin)
    if path.is_file():
        return path
    staged = [name for name, stage in stages_of(folder.load_config(path)).items() if stage["folds"]]
    if not staged:
        raise PodiumError(
            f"soft_labels_from: {path} has no stage with folds, so its model has seen every picture that it would teach"
        )
    found = out_of_fold_path(path, staged[-1])
    if not found.exists():
        raise PodiumError(f"soft_labels_from: there is no {found}: finish that run first")
    return found


def check_teacher(config: dict[str, Any], run: Path, names: list[str]) -> None:
    """Raise PodiumError if a job's teacher tells other classes apart than `names`: its columns are read as these."""
    table = soft_labels_table(config, run)
    if table is None or table.parent.name != "out_of_fold":
        return
    teacher = table.parent.parent / "jobs" / job_name(table.stem, 0)
    if (teacher / "scores.json").exists() and class_names(teacher) != names:
        raise PodiumError(
            f"stages.{config['job']['stage']}.soft_labels_from: {config['job']['soft_labels_from']} knows other "
            f"classes ({len(class_names(teacher))}, here {len(names)}): teach with the same classes in data"
        )


def out_of_fold_path(run: Path, stage: str) -> Path:
    """Where a stage's joined predictions are."""
    return run / "out_of_fold" / f"{stage}.parquet"


def taught_table(config: dict[str, Any], run: Path) -> Path | None:
    """What a stage's teachers said of unlabelled pictures; None for a stage without them."""
    if not (config["data"].get("unlabelled") and config["job"].get("soft_labels_from")):
        return None
    return run / "out_of_fold" / f"{config['job']['stage']}_unlabelled.parquet"


def origins(config: dict[str, Any]) -> dict[str, str]:
    """Key → where a job's weights or soft labels come from, for those that it has."""
    named = {key: config["job"][key] for key in ("init_from", "soft_labels_from")}
    return {key: value for key, value in (named | {"weights_from": config["weights_from"]}).items() if value}


def check_origins(job: Job, run: Path) -> None:
    """Refuse weights or teachers of another run that are not there, or have seen what this run holds out.

    Raises PodiumError, naming a picture. A checkpoint or a table that is no run's is taken on trust.
    """
    mine = read_folds(run)
    place = job.config["job"]
    held_out = set(mine.loc[mine["part"].isin(["valid", "choose", "score"]), "id"])
    for key, origin in origins(job.config).items():
        if (run / "jobs" / job_name(origin, 0)).is_dir():
            continue  # a stage of this run
        if key == "init_from":
            init_checkpoint(job.config, run)
        elif key == "soft_labels_from":
            soft_labels_table(job.config, run)
        if not (Path(origin) / "folds.csv").exists():
            continue
        theirs = read_folds(Path(origin))
        seen = theirs[theirs["part"] == "train"]
        avoided = held_out
        if key != "soft_labels_from":  # out-of-fold labels come from models that have not seen the picture
            seen = seen[(seen["fold"] != place["fold"]) | (seen["fold"] < 0)]
            avoided = held_out | set(mine.loc[(mine["fold"] == place["fold"]) & (mine["fold"] >= 0), "id"])
        leaked = avoided & set(seen["id"])
        if leaked:
            name = key if key == "weights_from" else f"stages.{job.stage}.{key}"
            raise PodiumError(
                f"{name}: models of {origin} were trained on {len(leaked)} pictures that this run holds out, such "
                f"as {min(leaked)}: give data.split={Path(origin) / 'folds.csv'} to share its split, and its folds"
            )
