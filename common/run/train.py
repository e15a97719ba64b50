"""The verb `train`: from a configuration to a finished run folder."""

import shutil
import sys
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from rich.console import Console

from common.data.module import ImageData
from common.errors import PodiumError
from common.run import environment, folder
from common.run.gallery import draw
from common.run.job import load_module, make_callbacks, make_data, run_job
from common.run.report import write_report
from common.run.summary import print_summary

SAMPLES = Path("data")


def train(config: dict[str, Any]) -> Path:
    """Run what is left of the configuration's jobs, then write scores, pictures and report.

    Returns the run folder. Raises PodiumError for what the user can mend, Stopped after a signal.
    """
    config = with_data(config)
    make_data(config, folder.RUNS)  # only made: what does not fit is said before a run folder is begun
    make_callbacks(config)
    run, why = folder.choose(config)
    print(why, flush=True)
    if not folder.is_done(run):
        with folder.lock(run):
            job = start(run, config)
            run_job(job)
            finish(run, job)
    print_summary(run, Console(highlight=False))
    return run


def with_data(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with a data root: the competition's sample data where none is named, drawn if missing."""
    data = config["data"]
    if data.get("root") is not None:
        root = Path(data["root"])
        if not root.is_dir():
            raise PodiumError(f"data.root: there is no folder {root}; name your data by DATA=<folder>")
        return {**config, "data": {**data, "root": str(root.resolve())}}
    root = SAMPLES / config["competition"] / "sample"
    data_class: type[ImageData] = get_class(data["_target_"])  # type: ignore[assignment]
    if not root.is_dir():
        print(f"no data.root given: drawing sample data in {root}", flush=True)
        data_class.write_sample(root)
    else:
        print(f"no data.root given: using the sample data in {root}", flush=True)
    return {**config, "data": {**data, "root": str(root.resolve()), "sample": True}}


def start(run: Path, config: dict[str, Any]) -> Path:
    """Write what a run knows before it trains; returns its one job."""
    if not (run / "config.yaml").exists():
        folder.write_json(run / "environment.json", environment.describe())
        folder.write_config(run, config)
    job = run / "jobs" / "train_fold0"
    if not (job / "config.yaml").exists():
        folder.write_config(job, config)
    return job


def finish(run: Path, job: Path) -> None:
    """Scores, pictures and report of the whole run, then `done`."""
    config = folder.load_config(run)
    scores = folder.load_json(job / "scores.json")
    folder.write_json(run / "scores.json", scores)
    flat = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    folder.write_text(run / "scores.csv", ",".join(flat) + "\n" + ",".join(map(str, flat.values())) + "\n")
    module = load_module(config, job / "best.ckpt")
    parameters = sum(parameter.numel() for parameter in module.net.parameters())
    size = sum(value.numel() * value.element_size() for value in module.net.state_dict().values())
    name = config["model"].get("name") or type(module.net).__name__
    folder.write_json(
        run / "model.json", {"name": name, "parameters": parameters, "megabytes": round(size / 1e6, 2)}
    )
    draw(run, job)
    shutil.copyfile(job / "views.png", run / "pictures" / "views.png")
    write_report(run)
    folder.write_text(run / "done", "")
    sys.stdout.flush()
