"""The verb `train`: from a configuration to a finished run folder."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import trust
from common.activity import Activity
from common.build import build
from common.config.command import command
from common.config.configure import check_root
from common.config.shape import check_shape
from common.config.weights import TAKEN, demanded, for_channels, otherwise
from common.data.module import ImageData
from common.ensemble.pseudo_labels import check_teachers
from common.errors import PodiumError
from common.files import made
from common.model.checkpoint import HyperParameters, load_checkpoint
from common.report.gallery import doubts, draw
from common.report.report import write_report
from common.report.summary import print_summary
from common.run import environment, folder
from common.run.components import load_module, make_callbacks, make_data
from common.run.jobs import (
    Job,
    check_origins,
    fold_count,
    init_checkpoint,
    jobs_of,
    origins,
    out_of_fold_path,
    stages_of,
)
from common.run.members import Member, class_names, write_members
from common.text import console, utf8
from common.train.contents import Contents, differences, differences_but_places
from common.train.frozen_backbone import delete_features
from common.train.job import threads
from common.train.rehearsal import rehearse
from common.train.run_scores import write_scores
from common.train.stages import run_alone, run_waves


def train(config: dict[str, Any]) -> Path:
    """Run what is left of the configuration's jobs, then write scores, pictures and report.

    Returns the run folder. Raises PodiumError for what the user can mend, JobsFailed if one of several jobs did not
    end well, Stopped after a signal.
    """
    if further := trust.own(config):
        print(f"to predict with this run, trust {', '.join(further)}: trust=<package>, or conf/trust.yaml")
    config = with_root(config)
    waves = with_weights(jobs_of(config))
    begun = folder.begun(config, differences_but_places)
    for wave in waves:  # what does not fit is said before a run folder is begun, and before pictures are read
        data = make_data(wave[0].config, folder.RUNS)
        make_callbacks(wave[0].config)
        if begun is None or not folder.is_done(begun):
            rehearse(wave[0].config, data, (begun or folder.RUNS / "new") / "jobs" / wave[0].name)
    if config["data"].get("unlabelled") and not any(
        stage["soft_labels_from"] for stage in stages_of(config).values()
    ):
        raise PodiumError(
            "data.unlabelled: a stage must learn from a teacher, by stages.<name>.soft_labels_from"
        )
    launcher = build(config["launcher"], "launcher")
    draw_sample(config)
    with Activity("looking for pictures"):
        now = Contents.of(config)
    run, why = folder.choose(config, lambda run, config: differences(run, config, now))
    print(why, flush=True)
    if not folder.is_done(run):
        with folder.lock(run):
            start(run, config, waves, now)
            first = waves[0][0]
            print(network(first.config), flush=True)
            alone = sum(map(len, waves)) == 1 and is_one_process(first.config)
            if not alone or origins(first.config):
                divide_data(run, config, waves)
            if alone:
                run_alone(run, first)
            else:
                run_waves(run, waves, launcher, stop_on_failure=config["on_failure"] == "stop")
            with Activity("writing scores, pictures and report"):
                finish(run, waves)
    print_summary(run, console())
    return run


def network(config: dict[str, Any]) -> str:
    """What a job's network is and where it begins, in words: parts that are swapped do not keep their weights."""
    model = config["model"]
    name = model.get("name") or model["_target_"].rpartition(".")[2]
    pretrained = model.get("pretrained") or "none"
    begins = config.get("weights_from") or (config.get("job") or {}).get("init_from")
    if begins:
        return f"network: {name}"
    return f"network: {name}, {'from scratch' if pretrained == 'none' else f'pretrained ({pretrained})'}"


def with_weights(waves: list[list[Job]]) -> list[list[Job]]:
    """The jobs with what the weights that they begin from were trained by; a line where one says otherwise."""
    stages: dict[str, dict[str, Any]] = {}
    said: dict[str, None] = {}
    for wave in waves:
        for at, job in enumerate(wave):
            config, demand = job.config, _trained_by(job, stages)
            said |= dict.fromkeys(otherwise(config, demand))
            for key, wanted in demand.items():
                section, name = key.split(".")
                if config[section].get(name) is None:
                    config = {**config, section: {**config[section], name: wanted}}
            wave[at] = replace(job, config=config)
            stages[job.stage] = config
    for line in said:
        print(line, flush=True)
    return waves


def _trained_by(job: Job, stages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Key of TAKEN → what the weights were trained by that a job begins with or only measures."""
    config, origin = job.config, job.config["job"]["init_from"]
    if config["weights_from"]:
        measured = Path(config["weights_from"]) / "jobs" / job.name / "best.ckpt"
        found = _of_checkpoint(measured, "weights_from", config)
        return {key: found[key] for key in found if key == "data.interpolation"}  # it brings its mean and std
    if origin in stages:
        past = {key: stages[origin][key.split(".")[0]].get(key.split(".")[1]) for key in TAKEN}
        return {key: value for key, value in past.items() if value is not None}
    if origin:
        with suppress(PodiumError):  # what is missing is said where the weights are looked for
            return _of_checkpoint(init_checkpoint(config, folder.RUNS) or Path(), "init_from", config)
        return {}
    path = Path(str(config["model"].get("pretrained")))
    if not path.is_file():
        return demanded(config)
    of_others = {**config, "model": {**config["model"], "pretrained": "hub"}}
    return _of_checkpoint(path, "model.pretrained", config) or demanded(of_others)


def _of_checkpoint(path: Path, key: str, config: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of ours was trained by; {} for another file of weights."""
    if path.suffix == ".safetensors" or not path.is_file():
        return {}
    known = load_checkpoint(path, key=key).get("hyper_parameters")
    if not isinstance(known, Mapping) or "class_names" not in known:
        return {}
    check_shape(dict(known), HyperParameters, path)
    found = {f"module.{name}": for_channels(known[name], config) for name in ("mean", "std") if name in known}
    return found | {"data.interpolation": known["preprocessing"]["interpolation"]}


def is_one_process(config: dict[str, Any]) -> bool:
    """Whether a model trains in one process: several start themselves from the command line of the first."""
    trainer = config["trainer"]
    return trainer["devices"] in (1, "1") and trainer["num_nodes"] == 1


def with_data(config: dict[str, Any]) -> dict[str, Any]:
    """As `with_root`, and sample data are drawn where they are missing."""
    config = with_root(config)
    draw_sample(config)
    return config


def with_root(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with a data root: where none is named, that of the competition's sample data.

    Raises PodiumError where there is no such folder, and where the competition draws no sample.
    """
    trust.own(config)
    data = config["data"]
    if data.get("root") is not None:
        root = Path(data["root"])
        check_root(data["root"])
        if str(root.resolve()) != utf8(str(root.resolve())):
            raise PodiumError(f"data.root: {utf8(str(root.resolve()))} is not UTF-8: rename the folder")
        return {**config, "data": {**data, "root": str(root.resolve())}}
    root = folder.DATA / config["competition"] / "sample"
    if not root.is_dir() and not _draws(trust.resolve(data["_target_"], "data")):
        name = config["competition"]
        raise PodiumError(
            f"data.root is not set, and {name} draws no sample data: name the folder of your pictures, by "
            f"{command('train', COMP=name)} DATA=<folder>, or by data.root in conf/competition/{name}.yaml"
        )
    return {**config, "data": {**data, "root": str(root.resolve()), "sample": True}}


def draw_sample(config: dict[str, Any]) -> None:
    """Draw the sample data where the configuration asks for them and they are missing."""
    data, root = config["data"], folder.DATA / config["competition"] / "sample"
    if not data.get("sample") or Path(data["root"]) != root.resolve():
        return
    if root.is_dir():
        print(f"no data.root given: using the sample data in {root}", flush=True)
        return
    data_class: type[ImageData] = trust.resolve(data["_target_"], "data")
    print(f"no data.root given: drawing sample data in {root}", flush=True)
    with Activity("drawing sample data"), folder.lock(root.parent, wait=True):
        if not root.is_dir():  # another process may have drawn them meanwhile
            with made(root):
                data_class.write_sample(root)


def _draws(data_class: type[ImageData]) -> bool:
    """Whether a competition draws sample data."""
    return data_class.write_sample.__func__ is not ImageData.write_sample.__func__  # type: ignore[attr-defined]


def start(run: Path, config: dict[str, Any], waves: list[list[Job]], now: Contents | None = None) -> None:
    """Write what a run knows before it trains: its configuration and that of each job, and what its data are.

    Of a run that goes on, with data that may lie elsewhere now, the places are written anew.
    Raises PodiumError where a job was begun with another configuration.
    """
    before = Contents.read(run)
    if before is not None and now is not None:
        now = now.with_gone(before)
    if not (run / "config.yaml").exists():
        folder.write_json(run / environment.NAME, environment.describe(threads(waves[0][0].config)))
        folder.write_config(run, config)
    for job in (job for wave in waves for job in wave):
        path = run / "jobs" / job.name
        if not (path / "config.yaml").exists():
            folder.write_config(path, job.config)
            continue
        old, new = folder.load_config(path), job.config
        if before is not None and now is not None:
            old, new = before.in_place(old), now.in_place(new)
        if differing := folder.differences(old, new):
            raise PodiumError(
                f"{path} was started with another configuration (there → here):\n  " + "\n  ".join(differing)
            )
        if before is not None:
            folder.write_config(path, job.config)
    if before is not None:
        folder.write_config(run, config)
    if now is not None and now != before:
        now.write(run)


def divide_data(run: Path, config: dict[str, Any], waves: list[list[Job]]) -> None:
    """Write `folds.csv` before the jobs start, which then only read it."""
    everywhere = all(job.config["job"]["fold"] is not None for wave in waves for job in wave)
    place = {"folds": fold_count(config), "fold": None}
    data = {
        **config["data"],
        **({"valid": 0.0} if everywhere else {}),
    }  # each fold is validated by another model
    make_data({**config, "data": data, "job": place}, run).setup()
    for job in (job for wave in waves for job in wave):
        check_origins(job, run)
        check_teachers(job.config, run)


def finish(run: Path, waves: list[list[Job]]) -> None:
    """Scores, pictures and report of the whole run, then `done`."""
    last = [run / "jobs" / job.name for job in waves[-1]]
    write_members(run, [Member(job) for job in last])
    write_scores(run, waves)
    config = folder.load_config(last[0])
    module = load_module(config, last[0] / "best.ckpt")
    parameters = sum(parameter.numel() for parameter in module.net.parameters())
    size = sum(value.numel() * value.element_size() for value in module.net.state_dict().values())
    name = config["model"].get("name") or type(module.net).__name__
    model = {"name": name, "parameters": parameters, "megabytes": round(size / 1e6, 2)}
    folder.write_json(run / "model.json", model | ({"models": len(last)} if len(last) > 1 else {}))
    draw(run, last)
    first_folds = next((wave for wave in waves if wave[0].config["job"]["fold"] is not None), None)
    if first_folds is not None:
        names = class_names(run / "jobs" / first_folds[0].name)  # stages may have classes of their own
        doubts(run, out_of_fold_path(run, first_folds[0].stage), names)
    jobs = [run / "jobs" / job.name for wave in waves for job in wave]
    known = folder.load_json(run / environment.NAME) if (run / environment.NAME).exists() else {}
    folder.write_json(run / environment.NAME, environment.measured(known, jobs))
    write_report(run)
    delete_features(run)
    folder.write_text(run / "done", "")
    sys.stdout.flush()
