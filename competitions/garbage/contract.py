"""How the contest's platform asked a model, and what it expected: a form's `input_img`, answered by group and item."""

from typing import Any

import numpy as np


class GarbageContract:
    """`{"result": "可回收物/易拉罐"}`: the name of the most probable class."""

    field = "input_img"

    def answer(self, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
        return {"result": class_names[int(probabilities.argmax())]}
