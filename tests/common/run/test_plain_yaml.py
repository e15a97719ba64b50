"""Configurations: what Podium writes comes back as it was; what would take minutes to build is refused at once."""

import time

import pytest

from common.errors import PodiumError
from common.run import plain_yaml

MERGES = "m0: &m0 {a: 1}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 30)}]}}\n" for n in range(1, 7)
)
BOMBS = {
    "merges": MERGES,
    "layers": f"A: &a [{'1,' * 30_000}]\nB: [{'*a ,' * 15_000}]",
    "aliases": f"A: &a [{'1,' * 3_000}]\nB: [{'*a ,' * 3_000}]",
    "many values": f"[{'1,' * 900_000}]",
    "endless": "&a [*a]",
    "a tag": "a: !!int 0b11",
    "a long tag": "a: !!binary AAAA",
    "keys that collide": "\n".join(f"{n * (2**61 - 1)}: 1" for n in range(2_000)),
    "deep": "- " * 20_000,
}
TEXTS = {"base 60": "1:" * 900_000 + "1", "base 2": "0b" + "1" * 1_900_000, "base 10": "1" * 1_900_000,
         "base 60 with a point": "1:" * 900_000 + "1.0"}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_what_would_be_large_is_refused_before_it_is_built(kind):
    begun = time.monotonic()
    with pytest.raises((PodiumError, RecursionError)):
        plain_yaml.load(BOMBS[kind])
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("kind", TEXTS)
def test_a_number_without_end_is_text(kind):
    begun = time.monotonic()
    assert plain_yaml.load(f"z: {TEXTS[kind]}") == {"z": TEXTS[kind]}
    assert time.monotonic() - begun < 15


def test_what_is_written_comes_back():
    shared = {"a": [1, -2, 0]}
    value = {"x": shared, "y": shared, "float": [1e-5, 1e16, -0.5, float("inf"), 3.0, 1e308], "none": None,
             "yes": [True, False], "large": 2**64, "number": {1: "a"},
             "text": ["08", "1:30", "0b11", "0x1f", "1_000", "2024-01-01", "<<", "=", "yes", "~", "", "1e5", "ä"],
             }  # fmt: skip
    text = plain_yaml.dump(value)
    assert "&" not in text and plain_yaml.load(text) == value


def test_a_few_aliases_of_old_runs_still_load():
    assert plain_yaml.load("a: &id001 {b: 1}\nc: *id001") == {"a": {"b": 1}, "c": {"b": 1}}
