"""Packs: every pixel as decoded directly, whatever happens to the process that packs and to its files."""

import json
import os
import pickle
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.data.pixels import arrays
from common.data.pixels import pack as module
from common.data.pixels.pack import Pack, file_keys
from common.data.reading.images import ImageError, fit_to, read
from common.errors import PodiumError
from tests.toys import write_images

ROOT = Path(__file__).parents[4]
PREPROCESSING = {"size": [12, 10], "channels": 1, "fit": "pad", "pad_value": 7, "interpolation": "area"}


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / "images", per_class=5)  # 20 pictures
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 3)


def paths_of(root):
    return sorted(map(str, root.rglob("*.png")))


def direct(path, preprocessing=PREPROCESSING):
    return fit_to(read(path, preprocessing["channels"], tuple(preprocessing["size"])), preprocessing)


class Counting:
    """Decodes pictures, and counts how often each was."""

    def __init__(self, paths, preprocessing=PREPROCESSING):
        self.paths, self.preprocessing, self.seen = paths, preprocessing, Counter()

    def __call__(self, row):
        self.seen[self.paths[row]] += 1
        return direct(self.paths[row], self.preprocessing)


Taken = namedtuple("Taken", "packed rows errors decoded folder")


def take(root, paths=None, preprocessing=PREPROCESSING, check=False):
    paths = paths_of(root) if paths is None else paths
    pack, picture = Pack(root.parent / "pack", preprocessing), Counting(paths, preprocessing)
    return Taken(*pack.take(file_keys(paths), picture, check), picture.seen, pack.folder)


def assert_right(taken, paths, preprocessing=PREPROCESSING):
    """The oracle: pictures and errors are those of decoding every file directly."""
    expected, rows, errors = arrays.decode(paths, lambda path: direct(path, preprocessing))
    assert taken.rows.tolist() == rows.tolist() and len(taken.packed) == len(expected)
    for row in range(len(expected)):
        assert np.array_equal(taken.packed[row], expected[row])
    assert [(one.path, one.reason) for one in taken.errors] == [(one.path, one.reason) for one in errors]


# --- What is in it ---


@pytest.mark.parametrize(
    "changes", [{}, {"channels": 3}, {"fit": "crop", "size": [5, 9]}, {"fit": "stretch", "size": [32, 32]}]
)
def test_packed_pictures_are_those_decoded_directly(root, changes):
    preprocessing = PREPROCESSING | changes
    taken = take(root, preprocessing=preprocessing)
    assert_right(taken, paths_of(root), preprocessing)
    chosen = [7, 0, 19, 7]
    expected = np.stack([direct(paths_of(root)[row], preprocessing) for row in chosen])
    assert np.array_equal(taken.packed.stack(chosen), expected)


def test_a_table_in_another_order_or_a_part_of_it_needs_no_decoding(root):
    take(root)
    paths = paths_of(root)[::-1][:11]
    again = take(root, paths)
    assert not again.decoded
    assert_right(again, paths)


def test_only_pictures_that_are_new_or_changed_are_decoded(root):
    take(root)
    first, second, third, *_ = paths_of(root)
    cv2.imwrite(first, 255 - cv2.imread(first))
    cv2.imwrite(str(root / "new.png"), 128 - cv2.imread(second))
    shutil.copyfile(second, root / "equal.png")
    os.utime(third, ns=(0, 1))  # of the same content
    again = take(root)
    assert dict(again.decoded) == {first: 1, str(root / "new.png"): 1}
    assert_right(again, paths_of(root))


def test_a_data_set_that_has_moved_is_not_decoded_anew(root):
    take(root)
    moved = root.parent / "moved"
    shutil.copytree(root, moved)
    paths = sorted(map(str, moved.rglob("*.png")))
    again = take(root, paths)
    assert not again.decoded
    assert_right(again, paths)


def test_a_pack_in_use_is_not_disturbed_by_what_is_added(root):
    taken = take(root)
    before = taken.packed.stack(range(20))
    for path in paths_of(root)[:9]:
        shutil.copyfile(paths_of(root)[-1], path)
    take(root)
    assert np.array_equal(taken.packed.stack(range(20)), before)


def test_another_preprocessing_or_version_is_another_pack(tmp_path, monkeypatch):
    def folder(**changes):
        return Pack(tmp_path, PREPROCESSING | changes).folder

    folders = {folder(), folder(size=[10, 12]), folder(channels=3), folder(fit="crop"), folder(pad_value=8)}
    folders |= {folder(interpolation="bilinear")}
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert len(folders | {folder()}) == 7


def test_other_code_of_the_part_that_makes_the_pictures_is_another_pack(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PODIUM_TRUST", "inverted_for_packs")
    preprocessing = PREPROCESSING | {"picture": {"_target_": "inverted_for_packs.Inverted"}}

    def folder(text):
        (tmp_path / "inverted_for_packs.py").write_text(text)
        return Pack(tmp_path, preprocessing).folder

    one = folder("class Inverted:\n    call = lambda image: 255 - image\n")
    other = folder("class Inverted:\n    call = lambda image: 254 - image\n")
    said = folder(
        '"""What."""\nclass Inverted:\n    """Why."""\n\n    call = lambda image: (255 - image)  # how\n'
    )
    assert one == said != other


def test_what_cannot_be_decoded_is_reported_as_ever_and_remembered(root):
    bad, cut, gone = (Path(path) for path in paths_of(root)[3:6])
    bad.write_bytes(b"no picture")
    cut.write_bytes(cut.read_bytes()[:40])
    paths = paths_of(root)
    gone.unlink()
    taken = take(root, paths)
    assert_right(taken, paths)
    assert len(taken.errors) == 3
    again = take(root, paths)
    assert dict(again.decoded) == {str(gone): 1}  # a disk may come back
    assert_right(again, paths)
    shutil.copyfile(paths[0], bad)
    assert_right(take(root, paths), paths)


def test_an_error_that_may_pass_is_not_remembered(root):
    paths, broken = paths_of(root), [True]

    def picture(row):
        if row == 4 and broken:
            raise ImageError(paths[row], "Input/output error") from OSError()
        return direct(paths[row])

    pack, keys = Pack(root.parent / "pack", PREPROCESSING), file_keys(paths)
    assert [str(error) for error in pack.take(keys, picture)[2]] == [f"{paths[4]}: Input/output error"]
    broken.clear()
    assert pack.take(keys, picture)[2] == []


def test_pictures_within_one_file_are_packed_by_their_places(tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (7, 12, 10, 1), dtype=np.uint8)
    file = tmp_path / "all.bin"
    records.tofile(file)
    offsets = list(range(0, 7 * 120, 120))

    def picture(row):
        return np.fromfile(file, np.uint8, 120, offset=offsets[row]).reshape(12, 10, 1)

    pack = Pack(tmp_path / "pack", PREPROCESSING)
    packed, *_ = pack.take(file_keys([str(file)] * 7, offsets), picture)
    assert np.array_equal(packed.stack(range(7)), records)
    assert len({*file_keys([str(file)] * 7, offsets).tolist()}) == 7
    assert pack.holds(file_keys([str(file)] * 7, offsets))
    file.write_bytes(file.read_bytes()[::-1])
    assert not pack.holds(file_keys([str(file)] * 7, offsets))


def test_a_picture_of_another_shape_is_refused(root):
    pack = Pack(root.parent / "pack", PREPROCESSING)
    with pytest.raises(ValueError, match=r"\(12, 10, 3\) uint8 in a pack of uint8 \(12, 10, 1\)"):
        pack.take(file_keys(paths_of(root)), lambda row: np.zeros((12, 10, 3), np.uint8))


def test_no_pictures_at_all(root):
    taken = take(root, [])
    assert len(taken.packed) == 0 and taken.errors == []


def test_workers_that_are_not_forked_get_no_copy(root):
    packed = take(root).packed
    packed.rows = np.tile(packed.rows, 50)  # 120 kB of pixels
    sent = pickle.dumps(packed)
    assert len(sent) < 1000 * 8 + 1000
    assert np.array_equal(pickle.loads(sent).stack(range(1000)), packed.stack(range(1000)))


# --- What may happen to it ---


def test_files_cut_anywhere_are_completed(root):
    """As after a kill or a power cut: each file may have got to any point that its order of writing allows."""
    folder, chance = take(root).folder, random.Random(0)
    pixel_bytes, index = ((folder / name).read_bytes() for name in ("pixels.u8", "index.jsonl"))
    for _ in range(25):
        (folder / "index.jsonl").write_bytes(index[: chance.randrange(len(index) + 1)])
        (folder / "pixels.u8").write_bytes(pixel_bytes[: chance.randrange(len(pixel_bytes) + 1)])
        assert_right(take(root), paths_of(root))
        assert not take(root).decoded


def test_damage_is_found_and_mended(root, capsys):
    folder, chance = take(root).folder, random.Random(0)
    for name in ["pixels.u8", "index.jsonl"] * 15:
        time.sleep(0.005)  # clocks of file systems tick slowly
        with (folder / name).open("r+b") as file:
            place = chance.randrange((folder / name).stat().st_size)
            file.seek(place)
            byte = file.read(1)[0] ^ 1 << chance.randrange(8)
            file.seek(place)
            file.write(bytes([byte]))
        assert_right(take(root), paths_of(root))
    said = capsys.readouterr().out
    assert f"{folder} is damaged" in said and "3 of its pictures" in said


def test_damage_that_leaves_no_trace_is_found_by_a_check(root):
    folder = take(root).folder
    before = (folder / "pixels.u8").stat()
    with (folder / "pixels.u8").open("r+b") as file:
        file.write(b"\0\1\2")
    os.utime(folder / "pixels.u8", ns=(before.st_atime_ns, before.st_mtime_ns))
    taken = take(root, check=True)
    assert sum(taken.decoded.values()) == 3  # one block
    assert_right(taken, paths_of(root))
    assert not take(root, check=True).decoded


@pytest.mark.parametrize("name", ["pixels.u8", "index.jsonl", "pack.json"])
def test_a_lost_file_is_made_again(root, name):
    (take(root).folder / name).unlink()
    assert_right(take(root), paths_of(root))
    assert not take(root).decoded


def test_a_full_disk_is_said_before_anything_is_written(root, monkeypatch):
    room = namedtuple("room", "f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda path: room(2, 1000))
    with pytest.raises(PodiumError, match=r"packing 20 pictures takes 0.0 GB.*data.in_memory_bytes"):
        take(root)
    assert not list(root.parent.rglob("pixels.u8"))


def test_a_place_that_cannot_be_written_to_is_named(root):
    (root.parent / "pack").write_text("a file")
    with pytest.raises(PodiumError, match=r"pack.* cannot be written to"):
        take(root)


# --- Several processes ---

SLOWLY = """
import json, sys, time
from pathlib import Path
from common.data.pixels import pack as module
from common.data.reading.images import fit_to, read

module.BLOCK_ROWS = 3
root, log, preprocessing = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
paths = sorted(map(str, root.rglob("*.png")))

def picture(row):
    while not (root.parent / ("go" if row < 15 else "go_on")).exists():
        time.sleep(0.01)
    with open(log, "a") as file:
        file.write(f"{row}\\n")
    return fit_to(read(paths[row], preprocessing["channels"], tuple(preprocessing["size"])), preprocessing)

module.Pack(root.parent / "pack", preprocessing).take(module.file_keys(paths), picture)
"""


def start(root, log):
    words = [sys.executable, "-c", SLOWLY, str(root), str(log), json.dumps(PREPROCESSING)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_loses_two_blocks_and_the_next_ends_as_if_nothing_had_happened(root, tmp_path):
    whole = take(root)
    unbroken = (whole.folder / "pixels.u8").read_bytes()
    shutil.rmtree(whole.folder)
    (tmp_path / "go").touch()
    packing = start(root, tmp_path / "log")
    index = whole.folder / "index.jsonl"
    while not index.exists() or index.read_bytes().count(b"\n") < 3:
        assert packing.poll() is None
        time.sleep(0.001)
    packing.send_signal(signal.SIGKILL)
    packing.wait()
    kept = 3 * index.read_bytes().count(b"\n")
    assert 9 <= kept < 20
    assert len((tmp_path / "log").read_text().split()) <= kept + 2 * 3
    again = take(root)
    assert sum(again.decoded.values()) == 20 - kept
    assert_right(again, paths_of(root))
    assert (whole.folder / "pixels.u8").read_bytes() == unbroken


def test_two_processes_at_once_decode_every_picture_once(root, tmp_path):
    both = [start(root, tmp_path / f"log{number}") for number in range(2)]
    (tmp_path / "go_on").touch()
    first = select.select([process.stdout for process in both], [], [])[0][
        0
    ].readline()  # of whoever comes later
    assert first.startswith("waiting for process")
    (tmp_path / "go").touch()
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    logs = [(tmp_path / f"log{n}").read_text().split() for n in range(2) if (tmp_path / f"log{n}").exists()]
    assert sorted(int(row) for log in logs for row in log) == list(range(20))
    taken = take(root)
    assert not taken.decoded
    assert_right(taken, paths_of(root))
