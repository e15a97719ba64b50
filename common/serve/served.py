"""What is served: a run folder's models, or an exported file, as one function of pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.config.schema import Page
from common.deliver.exported import Exported
from common.deliver.predict import check_competition, check_parts, find_run, is_exported, run_config
from common.deliver.program import SUFFIX as PROGRAM_SUFFIX
from common.deliver.program import Program
from common.errors import PodiumError
from common.run.members import read_members

if TYPE_CHECKING:
    from common.run.predictor import Ensemble


@dataclass(frozen=True)
class Model:
    """A model in memory.

    probabilities: uint8 (N, H, W, C) for each of `preprocessings` → float (N, K).
    ensemble: the networks themselves, for those who look into them; None: an exported file.
    """

    class_names: list[str]
    preprocessings: list[dict[str, Any]]
    probabilities: Callable[[list[np.ndarray]], np.ndarray]
    how: str
    ensemble: "Ensemble | None" = None


@dataclass(frozen=True)
class Source:
    """Where a model comes from, and what is known of it before it is loaded.

    load: takes seconds; called once, in the thread that will call the model.
    """

    path: Path
    competition: str
    run: str
    sample: bool
    service: dict[str, Any] | None  # part: the competition's contract
    load: Callable[[], Model]
    page: Page = field(default_factory=Page)


def find(
    run_dir: str | None, competition: str | None, checkpoint: str | None, tta: bool, threads: int | None
) -> Source:
    """The run or the file named, or the competition's newest finished run.

    Raises PodiumError if there is none, if it is of another competition, if a file was not written by `export`, or for
    options that a file has not.
    """
    if is_exported(run_dir):
        for name, given in (("checkpoint", checkpoint), ("tta", tta)):
            if given:
                raise PodiumError(f"{name} is for run folders; {run_dir} is as it was exported")
        source = _of_file(Path(str(run_dir)), threads)
        check_competition(str(run_dir), {"competition": source.competition}, competition)
        return source
    return _of_run(find_run(run_dir, competition), checkpoint, tta, threads)


def _of_run(run: Path, checkpoint: str | None, tta: bool, threads: int | None) -> Source:
    config = run_config(run, {})
    read_members(run, checkpoint)  # before anybody is told of an address

    def load() -> Model:
        import torch

        from common.run.predictor import Ensemble
        from common.serve.graphed import graphed

        if threads is not None:
            torch.set_num_threads(threads)
        models = Ensemble.of_run(run, checkpoint, tta)
        said = graphed(models, threads) or models.probabilities
        return Model(models.class_names, models.preprocessings, said, models.how, models)

    return Source(
        run,
        config["competition"],
        run.resolve().name,
        bool(config["data"].get("sample")),
        config.get("service"),
        load,
        Page(**config.get("page", {})),
    )


def _of_file(path: Path, threads: int | None) -> Source:
    file = Program(path, threads) if path.suffix == PROGRAM_SUFFIX else Exported(path, threads, spin=False)

    def load() -> Model:
        return Model(
            file.class_names, [file.preprocessing], lambda images: file.probabilities(images[0]), file.how
        )

    about = file.about
    check_parts(about, path)
    return Source(
        path,
        about["competition"],
        about["run"],
        about["sample"],
        about["service"],
        load,
        Page(**about["page"]),
    )
