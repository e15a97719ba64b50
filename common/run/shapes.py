"""What the files of a run folder must hold, as far as other commands read them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from common.config.shape import Part

Name = Annotated[str, Field(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$")]  # of a folder


class Page(BaseModel, extra="forbid"):
    """See `Page` in common/config/schema.py, which checks the range too."""

    draw: bool = False
    brush: Annotated[float, Field(gt=0, le=0.5)] = 0.09


class _Data(BaseModel):
    root: str
    sample: bool = False


class _Trainer(BaseModel):
    accelerator: str


class _Stage(BaseModel):
    folds: Annotated[int, Field(ge=1, le=1000)] | None = None


class _Job(BaseModel):
    stage: Name
    number: int
    fold: int | None = None
    init_from: str | None = None
    soft_labels_from: str | None = None
    clean: dict[str, Any] | None = None


class Begun(BaseModel):
    """`config.yaml` of a run that is only looked at, such as for the newest one."""

    competition: Name = "_"
    trainer: dict[str, Any] = {}
    data: dict[str, Any] = {}


class Config(BaseModel):
    """`config.yaml` of a run, and of a job."""

    competition: Name
    seed: int
    data: _Data
    module: Part
    model: Part
    loss: Part
    optimizer: Part
    schedule: Part | None = None
    views: dict[str, Any]
    submission: dict[str, Any]
    service: Part | None = None
    page: Page = Page()
    callbacks: dict[str, Part | None]
    logger: dict[str, Part | None]
    best: Annotated[dict[str, str], Field(min_length=1)]
    trainer: _Trainer
    stages: dict[str, _Stage] = {}
    job: _Job | None = None


class Contents(BaseModel, extra="forbid"):
    """`data.json` of a run."""

    classes: list[str]
    pictures: int
    records: str
    pixels: str
    files: dict[str, str]


class Speed(BaseModel):
    """`speed.json` of a job."""

    precision: Annotated[str, Field(pattern=r"^(64|32|16|bf16)(-true|-mixed)?$")]
    memory_format: Literal["contiguous", "channels_last"]
    images_per_second: dict[str, float] = {}


class _Class(BaseModel):
    model_config = {"populate_by_name": True}
    name: str = Field(alias="class")


class JobScores(BaseModel):
    """`scores.json` of a job: at least the classes that it tells apart."""

    per_class: Annotated[list[_Class], Field(min_length=1)]


class Blend(BaseModel):
    """`blend.json`: the runs that a blend was chosen from."""

    runs: Annotated[list[str], Field(min_length=1)]


class _Member(BaseModel):
    job: str
    checkpoint: str


class Members(BaseModel):
    """`members.json`."""

    mean: str
    members: list[_Member]
