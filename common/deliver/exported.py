"""Exported files: a model and all that predicting with it needs, in one `.onnx`. Torch is never imported here."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, Field

from common import trust
from common.config.check import check
from common.config.command import export_of
from common.config.shape import Part, Text, check_shape
from common.data.reading.images import ImageError, check_picture
from common.data.reading.preprocessing import Preprocessing
from common.data.reading.reader import predicted
from common.errors import PodiumError, reading
from common.run.shapes import Page

SUFFIX = ".onnx"
VERSION = 1  # of the keys below


class About(BaseModel):
    """The metadata of an exported file; see Exported."""

    version: int
    competition: Text
    run: Text
    how: Text
    class_names: Annotated[list[Text], Field(min_length=1)]
    preprocessing: Preprocessing
    submission: dict[str, Any]  # {}: there is none to predict by
    service: Part | None
    page: Page
    sample: bool


KEYS = tuple(About.model_fields)


class Exported:
    """A file written by `export`, ready to predict.

    Args:
        path: the file.
        threads: CPU threads of one prediction; None: as many as there are cores.
        spin: threads wait for work at full speed; false: asleep, for a process that has other work too.

    Attributes:
        about: the file's metadata, see KEYS: version (of these keys), competition, run (its folder's name), how
            (which models and views it holds, in words), class_names, preprocessing, submission and service
            (parts), page (see config/schema.py), sample (whether it was trained on sample data).
        class_names: index = label.
        preprocessing: how a picture becomes the model's input, as `images.fit_to` takes it.

    Raises PodiumError if the file is missing, damaged, or was not written by `export`.
    """

    def __init__(self, path: Path, threads: int | None = None, spin: bool = True) -> None:
        if path.suffix != SUFFIX:
            raise PodiumError(f"{path}: expected an exported file {path.stem}{SUFFIX}")
        if not path.is_file():
            raise PodiumError(f"there is no file {path}: make it by {export_of(path)}")
        self.session = session(path, threads, spin)
        self.about = about_of(path, self.session.get_modelmeta().custom_metadata_map)
        self.class_names: list[str] = self.about["class_names"]
        self.preprocessing: dict[str, Any] = self.about["preprocessing"]
        with reading(path):
            self._check_graph()

    def _check_graph(self) -> None:
        """Raise PodiumError where the graph is of another shape than the metadata say."""
        (taken,), (said,) = self.session.get_inputs(), self.session.get_outputs()
        if (taken.name, taken.type, said.name) != ("image", "tensor(uint8)", "probabilities"):
            raise PodiumError("its graph is none of ours: expected image (uint8) → probabilities")
        expected = [*self.preprocessing["size"], self.preprocessing["channels"]]
        if list(taken.shape[1:]) != expected:
            raise PodiumError(f"preprocessing: its graph takes pictures of {taken.shape[1:]}, got {expected}")
        if list(said.shape[1:]) != [len(self.class_names)]:
            raise PodiumError(
                f"class_names: its graph tells {said.shape[1:]} apart, got {len(self.class_names)}"
            )

    @property
    def config(self) -> dict[str, Any]:
        """Those keys of the run's configuration that the file carries."""
        about = self.about
        return {
            "competition": about["competition"],
            "submission": about["submission"],
            "data": {"sample": about["sample"]},
        }

    @property
    def how(self) -> str:
        return f"exported, {self.about['how']}"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Fitted pictures, uint8 (N, H, W, C) → class probabilities, float32 (N, K)."""
        return self.session.run(["probabilities"], {"image": images})[0]

    def predict(
        self,
        ids: list[str],
        paths: list[Path],
        batch_size: int,
        bad: list[ImageError],
        most_pixels: int | None = None,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(id, probabilities float32 (K,)) of each picture that can be read, in order; errors go to `bad`."""
        rows = predicted(
            paths,
            [self.preprocessing],
            lambda fitted: self.probabilities(fitted[0]),
            batch_size,
            bad,
            most_pixels,
        )
        return ((ids[position], row) for position, row in rows)


def session(path: Path, threads: int | None = None, spin: bool = True) -> ort.InferenceSession:
    """An ONNX file in memory; arguments as those of `Exported`. Raises PodiumError if it is damaged."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        raise PodiumError(f"{path} cannot be loaded: {first_line(error)}") from error


def about_of(path: Path, found: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of itself, from its metadata, each value as JSON.

    Raises PodiumError if it was not written by this version's `export`.
    """
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise PodiumError(
            f"{path} was not written by make export: its metadata lack {', '.join(missing)}; "
            "export the run that it comes from"
        )
    about = {}
    with reading(path):
        for key in KEYS:
            try:
                about[key] = json.loads(found[key])
            except ValueError as error:
                raise PodiumError(f"its metadata are damaged: {key} is no JSON ({error})") from None
    if about["version"] != VERSION:
        raise PodiumError(
            f"{path} was exported by another version of Podium (metadata version {about['version']}, "
            f"expected {VERSION}): export the run again"
        )
    check_shape(about, About, path)
    trust.check({"preprocessing": about["preprocessing"]}, path)
    with reading(path):
        check({"picture": about["preprocessing"].get("picture")})
        check_picture(about["preprocessing"])
    return about


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
