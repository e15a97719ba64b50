"""What the service says, for the OpenAPI description."""

from pydantic import BaseModel, Field

from common.serve.refused import State


class Prediction(BaseModel):
    label: int = Field(ge=0, description="index of the class")
    name: str
    probability: float = Field(ge=0, le=1)


class Predictions(BaseModel):
    predictions: list[Prediction] = Field(description="the most probable classes, the best first")


class Accepted(BaseModel):
    """Bounds of a picture."""

    megabytes: float
    megapixels: float
    types: list[str]


class Info(BaseModel):
    competition: str
    run: str = Field(description="name of the run folder that the model comes from")
    model: str = Field(description="which models and views, in words")
    classes: int
    class_names: list[str]
    sample_data: bool = Field(description="true: trained on sample data, a demonstration and no more")
    can_draw: bool = Field(description="true: the classes are characters, which may be drawn, black on white")
    limits: Accepted


class Health(BaseModel):
    status: str


class Problem(BaseModel):
    error: str = Field(description="what is wrong, in a sentence")
    state: State | None = Field(
        None, description="of the service, where that is why: in every 503 of its own"
    )
