"""The verb `predict`: a run and pictures in, a submission out."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common import trust
from common.activity import tell_on_stderr
from common.build import build
from common.config.check import check
from common.config.command import word
from common.config.nearest import suggest
from common.config.schema import at_least
from common.cores import check_count, cores
from common.data.reading.images import ImageError
from common.data.reading.reader import images_of
from common.data.records import bad_table, image_id
from common.data.spreadsheet import to_csv
from common.deliver.submission import Submission
from common.errors import PodiumError, reading
from common.files import is_stream, written
from common.run import folder
from common.text import printable, quoted


class Predictor(Protocol):
    """What predicts: the models of a run, or an exported file."""

    class_names: list[str]

    @property
    def how(self) -> str: ...

    def predict(
        self,
        ids: list[str],
        paths: list[Path],
        batch_size: int,
        bad: list[ImageError],
        most_pixels: int | None = None,
    ) -> Iterator[tuple[str, np.ndarray]]: ...


@dataclass
class OnRun:
    """Options of every verb that takes a trained run."""

    competition: str | None = None  # whose newest finished run is taken when run_dir is not given
    run_dir: str | None = None  # run folder; predict takes an exported file too
    data: dict[str, Any] = field(
        default_factory=dict
    )  # what of the run's data is otherwise now, such as root
    checkpoint: str | None = None  # of each job; null: the one that the run names, best.ckpt
    tta: bool = True  # use the models' test-time augmentation, if they have one
    batch_size: int = 128  # images at a time
    max_pixels: int | None = None  # a picture of more cannot be read; null: data.max_pixels of the run
    threads: int | None = None  # CPU threads of the models, >= 1; null: all that this process may use
    trust: Any = None  # packages of one's own that the run may name: "a,b" or [a,b]; see common/trust.py

    def __post_init__(self) -> None:
        at_least("batch_size", self.batch_size, 1)
        at_least("max_pixels", self.max_pixels, 1, or_null=True)
        at_least("threads", self.threads, 1, or_null=True)
        check_count("threads", self.threads)


@dataclass
class Predict(OnRun):
    """Options of `predict`."""

    input: str | None = None  # image or folder; null: the competition's own test part
    out: str | None = None  # the submission; null: in the run folder


def predict(options: Predict) -> Path | None:
    """Write the submission for the pictures; a single picture's top five are printed instead.

    `run_dir` may be a file that `export` wrote: then torch is not imported.

    Returns the file, or None for a single picture without `out`.
    """
    trust.also(options.trust)
    if options.input and not Path(options.input).exists():
        raise PodiumError(f"INPUT: there is no file or folder {options.input}")
    if options.out:
        _check_out(Path(options.out))
    run, model, config = _exported(options) if is_exported(options.run_dir) else _trained(options)
    home = run if run.is_dir() else run.parent
    with reading(run / "config.yaml" if run.is_dir() else run):
        if "_target_" not in config["submission"]:
            raise PodiumError(f"submission must be a component with _target_, got {config['submission']}")
        submission: Submission = build(config["submission"], "submission")
    ids, paths = _pictures(config, run, submission, options.input)
    bad: list[ImageError] = []
    rows = model.predict(ids, paths, options.batch_size, bad, options.max_pixels)
    if options.input and paths == [Path(options.input)] and options.out is None:
        _print_top_five(rows, bad, model.class_names)
        return None
    out = Path(options.out) if options.out else home / _file_name(config, submission)
    streamed = options.out is not None and is_stream(out)
    if out.suffix not in ("", submission.suffix):
        raise PodiumError(
            f"OUT: {out} would hold a {submission.suffix} file: name it {out.with_suffix(submission.suffix)}"
        )
    if streamed:
        tell_on_stderr()
    with written(out, follow=options.out is not None) as unchecked:
        count = submission.write(unchecked, rows, model.class_names)
        if not count:
            raise PodiumError(
                f"none of the {len(paths)} pictures could be read; the first: {bad[0]}"
                if bad
                else "there is no picture to predict"
            )
        unreadable = {error.path for error in bad}
        if options.input:  # a folder of one's own is complete without what cannot be read; a test part is not
            ids = [image for image, path in zip(ids, paths, strict=True) if str(path) not in unreadable]
        faults = submission.validate(unchecked, ids, model.class_names)
        rejected = out.with_name(f"{out.stem}_rejected{out.suffix}")
        if faults and not streamed:
            shutil.move(unchecked, rejected)
        elif faults:
            raise PodiumError(
                f"nothing goes to {out}: it would not be accepted:\n  " + "\n  ".join(faults[:10])
            )
    say = partial(print, file=sys.stderr if streamed else sys.stdout)
    sample = " (of a model trained on SAMPLE DATA)" if config["data"].get("sample") else ""
    file = rejected if faults else out
    say(f"{count} prediction{'s' if count > 1 else ''}{sample} from {run} ({model.how}): {file}")
    if bad:
        left_out = f"left out: {len(bad)} of {len(paths)} pictures could not be read"
        if streamed:
            say(f"{left_out}, the first: {bad[0]}")
        else:
            listed = out.with_name(f"{out.stem}_bad_images.csv")
            to_csv(bad_table(bad), listed)
            say(f"{left_out}; with reasons they are listed in {listed}")
    if faults:
        raise PodiumError(f"{file} would not be accepted:\n  " + "\n  ".join(faults[:10]))
    say(
        f"checked: each of {count:,} images{' that could be read' if bad else ''} once, in order, known classes"
    )
    return out


def _check_out(out: Path) -> None:
    if not out.parent.is_dir():
        raise PodiumError(f"OUT: there is no folder {out.parent} to write {out.name} into")
    if out.is_dir():
        raise PodiumError(f"OUT: {out} is a folder; name the file to write")


def is_exported(run_dir: str | None) -> bool:
    """Whether a file is named, such as `export` writes, rather than a run folder.

    Raises PodiumError for a checkpoint, which is no whole model.
    """
    if run_dir is not None and Path(run_dir).suffix == ".ckpt":
        raise PodiumError(
            f"RUN: {run_dir} is one of a run's checkpoints: name the run folder, and the checkpoint by "
            f"ARGS={quoted(word('checkpoint', Path(run_dir).name))}"
        )
    return run_dir is not None and (Path(run_dir).suffix in (".onnx", ".pt2") or Path(run_dir).is_file())


def find_run(run_dir: str | None, competition: str | None) -> Path:
    """The run folder named, or the competition's newest finished one."""
    if run_dir:
        check_competition(run_dir, folder.load_config(Path(run_dir)), competition)
        return Path(run_dir)
    if not competition:
        raise PodiumError(
            "name a run by RUN=<folder>, or a competition by COMP=<name> for its newest finished run"
        )
    run = folder.newest_finished(competition)
    print(f"newest finished run: {run}")
    return run


def check_competition(run_dir: str, config: dict[str, Any], competition: str | None) -> None:
    """Raise PodiumError where a run or exported file is of another competition than the one that is named."""
    if competition not in (None, config["competition"]):
        raise PodiumError(f"RUN={run_dir} is of {config['competition']}, but COMP says {competition}")


def run_config(run: Path, data: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration with other values for some keys of its data, such as `root` where they have moved.

    Raises PodiumError for a key that the run's data do not have, and for a root that is no folder.
    """
    config = folder.load_config(run)
    file = run / "config.yaml"
    trust.check(config, file, imports=False)
    check_parts(config, file, "data")
    for key in data:
        if key not in config["data"]:
            raise PodiumError(f"there is no key data.{key} in {run}{suggest(key, config['data'])}")
    if data.get("root") and not Path(data["root"]).is_dir():
        raise PodiumError(f"data.root: there is no folder {data['root']}")
    return {**config, "data": config["data"] | data}


def check_moved(config: dict[str, Any]) -> None:
    """Raise PodiumError where a run's data are no longer where it says."""
    root = config["data"]["root"]
    if not Path(root).is_dir():
        raise PodiumError(f"the run's data have moved: {root} is gone; name them by DATA=<folder>")


def check_parts(config: Mapping[str, Any], file: Path, *further: str) -> None:
    """Raise PodiumError that names the file for a submission, a service or further parts that cannot be made of it."""
    parts = {key: config[key] for key in ("submission", "service") if config.get(key)}
    trust.check(parts, file)
    with reading(file):
        check(parts | {key: config[key] for key in further})


def _trained(options: Predict) -> tuple[Path, Predictor, dict[str, Any]]:
    """A run folder, its models as one, and its configuration."""
    run = find_run(options.run_dir, options.competition)
    config = run_config(run, options.data)

    from common.run.predictor import Ensemble  # imports torch, which mistakes until here need not wait for

    take_threads(options.threads)
    return run, Ensemble.of_run(run, options.checkpoint, options.tta), config


def take_threads(threads: int | None) -> None:
    """Let torch compute with so many from now on; None: with all that this process may use."""
    import torch

    torch.set_num_threads(threads or cores())


def _exported(options: Predict) -> tuple[Path, Predictor, dict[str, Any]]:
    """An exported file, its model, and what it carries of its run's configuration."""
    for name, given in (("checkpoint", options.checkpoint), ("data", options.data)):
        if given:
            raise PodiumError(f"{name} is for run folders; {options.run_dir} holds one model, and no data")
    if options.input is None:
        raise PodiumError(f"{options.run_dir} knows no data: name the pictures by INPUT=<folder or image>")

    from common.deliver.exported import Exported

    path = Path(str(options.run_dir))
    model = Exported(path, options.threads)
    check_parts(model.about, path)
    check_competition(str(options.run_dir), model.config, options.competition)
    return path, model, model.config


def _pictures(
    config: dict[str, Any], run: Path, submission: Submission, source: str | None
) -> tuple[list[str], list[Path]]:
    """Ids and paths of the pictures, in the order of the submission."""
    if source is None:
        check_moved(config)
        from common.run.components import make_data

        table = make_data(config, run).test_records()
        return table["id"].tolist(), [Path(path) for path in table["path"]]
    given = Path(source)
    if (own := getattr(submission, "pictures", None)) is not None:
        return own(given)
    paths = images_of(given)
    base = given if given.is_dir() else given.parent
    return [image_id(path, base) for path in paths], paths


def _print_top_five(rows: Iterator[tuple[str, np.ndarray]], bad: list[ImageError], names: list[str]) -> None:
    for _, probabilities in rows:
        for label in np.argsort(-probabilities, kind="stable")[:5]:
            print(f"{100 * probabilities[label]:6.2f} %  {printable(names[label])}")
    if bad:
        raise PodiumError(f"{bad[0]}")


def _file_name(config: dict[str, Any], submission: Submission) -> str:
    return ("submission_sample" if config["data"].get("sample") else "submission") + submission.suffix
