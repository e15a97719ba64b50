"""What a checkpoint and an exported file say of how a picture becomes the model's input."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from common.config.shape import Part

MOST_PIXELS = 2**24  # of the model's input: 4096 x 4096
Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]


class Preprocessing(BaseModel):
    """See `fit_to` in images.py."""

    size: Annotated[list[Side], Field(min_length=2, max_length=2)]  # height, width
    channels: Literal[1, 3]
    fit: Literal["stretch", "pad", "crop"]
    pad_value: Annotated[int, Field(ge=0, le=255)]
    interpolation: Literal["area", "bilinear", "bicubic"]
    picture: Part | None = None

    @field_validator("size")
    @classmethod
    def _bounded(cls, size: list[int]) -> list[int]:
        if size[0] * size[1] > MOST_PIXELS:
            raise ValueError(f"more than {MOST_PIXELS:,} pixels")
        return size
