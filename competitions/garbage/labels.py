"""The contest's two kinds of text: a label file beside each picture, and the rule file that names the classes."""

import json
from dataclasses import dataclass
from pathlib import Path

from common.data.files.found import is_data, is_picture
from common.errors import PodiumError
from common.text import nfc, utf8

RULE = "garbage_classify_rule.json"


@dataclass(frozen=True)
class Fault:
    """A picture or label file that is left out, and why."""

    file: str
    line: str
    reason: str


def read_rule(path: Path) -> list[str]:
    """The class names `group/item` of `{"0": "group/item", …}`, index = class.

    Raises PodiumError for a file that is not so, naming the key.
    """
    if not path.is_file():
        raise PodiumError(f'there is no {path}: it names the classes, {{"0": "group/item", "1": …}}')
    try:
        rule = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # also what is not UTF-8
        raise PodiumError(f"{path} is no JSON in UTF-8: {error}") from None
    if not isinstance(rule, dict) or not rule:
        raise PodiumError(f'{path} must be an object such as {{"0": "group/item"}}, got {rule!r}')
    expected = [str(number) for number in range(len(rule))]
    strange = sorted(set(rule) - set(expected))
    if strange:
        raise PodiumError(f"{path}: keys must be 0 to {len(rule) - 1}, each once, got «{strange[0]}»")
    for key, name in rule.items():
        parts = name.split("/") if isinstance(name, str) else []
        if len(parts) != 2 or not all(parts):
            raise PodiumError(f"{path}: class {key} must be «group/item», got {name!r}")
    names = [nfc(rule[key]) for key in expected]
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise PodiumError(f"{path}: «{doubled[0]}» names more than one class")
    return names


def groups(class_names: list[str]) -> tuple[list[int], list[str]]:
    """(number of each class's group, names of the groups), groups in the order in which they first stand."""
    of_class = [name.partition("/")[0] for name in class_names]
    names = list(dict.fromkeys(of_class))
    return [names.index(group) for group in of_class], names


def read_labels(folder: Path, classes: int) -> tuple[list[tuple[Path, int]], list[Fault]]:
    """(picture, class) by the label files of a folder, and what is left out; pictures in order of their names.

    A label file is one line, `img_1.jpg, 0`: a picture of the same folder and a class in 0..classes-1. Whatever is
    not so is left out: also a picture that no file labels, and one that two files label differently.
    """
    labels: dict[str, int] = {}
    contradicted: set[str] = set()
    faults: list[Fault] = []
    pictures = {
        nfc(utf8(path.name)): utf8(path.name)
        for path in folder.iterdir()
        if path.is_file() and is_data(path.name) and is_picture(path)
    }
    for path in sorted(
        path for path in folder.iterdir() if path.suffix.lower() == ".txt" and is_data(path.name)
    ):
        file = utf8(path.name)
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
            image, label = _parsed(text, classes)
            if image not in pictures:
                raise ValueError(f"there is no picture {image}")
            if labels.setdefault(image, label) != label:
                contradicted.add(image)
                raise ValueError(
                    f"another file says that {image} is of class {labels[image]}: both are left out"
                )
        except UnicodeDecodeError as error:
            faults.append(Fault(file, repr(error.object[:40])[2:-1], "not UTF-8"))
        except ValueError as error:
            faults.append(Fault(file, text, str(error)))
        except OSError as error:
            faults.append(Fault(file, "", f"cannot be read: {error.strerror}"))
    told = {Path(fault.file).stem for fault in faults}  # of these, their label file is listed
    unlabelled = sorted(image for image in pictures.keys() - labels.keys() if Path(image).stem not in told)
    faults += [Fault(image, "", "no file labels this picture") for image in unlabelled]
    good = sorted((image, label) for image, label in labels.items() if image not in contradicted)
    return [(folder / pictures[image], label) for image, label in good], faults


def _parsed(text: str, classes: int) -> tuple[str, int]:
    """(picture, class) of a label file's text; ValueError says what is wrong."""
    if not text:
        raise ValueError("the file is empty")
    if len(text.splitlines()) > 1:
        raise ValueError(f"expected one line, got {len(text.splitlines())}")
    image, comma, label = (part.strip() for part in text.rpartition(","))
    if not comma or not image:
        raise ValueError("expected «picture, class», such as «img_1.jpg, 0»")
    if not label.isdecimal() or not label.isascii():
        raise ValueError(f"the class must be a whole number, got «{label}»")
    if int(label) >= classes:
        raise ValueError(f"the class must be 0 to {classes - 1}, got {label}")
    return nfc(image), int(label)
