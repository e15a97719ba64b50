"""Hualu 2020: one JSON list, an object for each picture: its best class and how sure that is."""

import json
from pathlib import Path
from typing import Any

from common.deliver.submission import Rows, faulty_names

KEYS = ["image_name", "category", "score"]


class SmokingCallingSubmission:
    """`[{"image_name": "0001.jpg", "category": "smoking", "score": 0.98765}, …]`, UTF-8, one object a line."""

    suffix = ".json"

    def write(self, path: Path, rows: Rows, class_names: list[str]) -> int:
        count = 0
        with path.open("w", encoding="utf-8") as file:
            file.write("[")
            for image, probabilities in rows:
                best = int(probabilities.argmax())
                score = round(float(probabilities[best]), 5)
                row = dict(zip(KEYS, (_bare(image), class_names[best], score), strict=True))
                file.write(f"{',' if count else ''}\n{json.dumps(row, ensure_ascii=False)}")
                count += 1
            file.write("\n]\n")
        return count

    def validate(self, path: Path, ids: list[str], class_names: list[str]) -> list[str]:
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]
        except ValueError as error:  # also what is not UTF-8
            return [f"is no JSON: {error}"]
        if not isinstance(rows, list):
            return [f"must be one JSON list, got {type(rows).__name__}"]
        faults = [
            f"entry {number}: expected an object of {', '.join(KEYS)}, got {row}"
            for number, row in enumerate(rows, start=1)
            if not isinstance(row, dict) or sorted(row) != sorted(KEYS)
        ]
        return faults or faulty_names(
            [str(row["image_name"]) for row in rows], [_bare(image) for image in ids]
        ) + _faulty_values(rows, class_names)


def _faulty_values(rows: list[dict[str, Any]], class_names: list[str]) -> list[str]:
    faults = []
    for number, row in enumerate(rows, start=1):
        score = row["score"]
        if row["category"] not in class_names:
            faults.append(f"entry {number}: «{row['category']}» is no known class")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            faults.append(f"entry {number}: score must be a number in [0, 1], got {score!r}")
        elif round(score, 5) != score:
            faults.append(f"entry {number}: score must have at most 5 decimals, got {score}")
    return faults


def _bare(image: str) -> str:
    return image.rsplit("/", 1)[-1]
