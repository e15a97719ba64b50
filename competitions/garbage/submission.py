"""Huawei 2019: one JSON object, from the picture's name to the number of its class."""

import json
from pathlib import Path

from common.deliver.submission import Rows, faulty_names


class GarbageSubmission:
    """`{"img_1.jpg": 23, "img_2.jpg": 0, …}`, UTF-8, a picture a line, as the rule file counts the classes."""

    suffix = ".json"

    def write(self, path: Path, rows: Rows, class_names: list[str]) -> int:
        count = 0
        with path.open("w", encoding="utf-8") as file:
            file.write("{")
            for image, probabilities in rows:
                name = json.dumps(_bare(image), ensure_ascii=False)
                file.write(f"{',' if count else ''}\n{name}: {int(probabilities.argmax())}")
                count += 1
            file.write("\n}\n")
        return count

    def validate(self, path: Path, ids: list[str], class_names: list[str]) -> list[str]:
        try:
            pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]
        except ValueError as error:  # also what is not UTF-8
            return [f"is no JSON: {error}"]
        if not isinstance(pairs, _Pairs):
            return [f"must be one JSON object, got {type(pairs).__name__}"]
        faults = faulty_names([name for name, _ in pairs], [_bare(image) for image in ids])
        return faults + [
            f"{name}: the class must be a whole number from 0 to {len(class_names) - 1}, got {label!r}"
            for name, label in pairs
            if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(class_names)
        ]


class _Pairs(list[tuple[str, object]]):
    """An object's names and values, those that stand there twice as well."""


def _bare(image: str) -> str:
    """Its name in the contest; in a folder of one's own, with its path there: names may be in two folders."""
    return image.removeprefix("test/")
