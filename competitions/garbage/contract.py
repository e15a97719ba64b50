"""How the contest's platform asked a model, and what it expected: a form's `input_img`, answered by group and item."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field


class Result(BaseModel):
    result: str = Field(description="the most probable class, as group/item")


class GarbageContract:
    """`{"result": "可回收物/易拉罐"}`: the name of the most probable class."""

    field = "input_img"
    reply = Result

    def answer(self, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
        return {"result": class_names[int(probabilities.argmax())]}
