"""The index against a plain reader, and against files that are damaged in every way."""

import struct

import numpy as np
import pytest

from common.errors import PodiumError
from competitions.hccr import gnt
from competitions.hccr.gnt import GntIndex
from tests.competitions.hccr.records import CHARACTERS, record, scrawl


def plain_reader(path):
    """(offset, tag, picture) of each record, as people write it."""
    found = []
    with path.open("rb") as file:
        while head := file.read(10):
            size, tag, width, height = struct.unpack("<I2sHH", head)
            offset = file.tell() - 10
            found.append((offset, tag, np.frombuffer(file.read(size - 10), np.uint8).reshape(height, width)))
    return found


def random_file(path, seed, count=14):
    rng = np.random.default_rng(seed)
    path.write_bytes(
        b"".join(record(CHARACTERS[n % len(CHARACTERS)].encode("gbk"), scrawl(rng)) for n in range(count))
    )
    return path


def test_it_finds_what_a_plain_reader_finds(tmp_path):
    files = [random_file(tmp_path / f"{n}.gnt", n, count) for n, count in enumerate([1, 14, 5000, 3])]
    index = GntIndex.of(files)
    assert index.faults == () and len(index) == 5018
    at = 0
    for number, path in enumerate(files):
        for n, (offset, tag, image) in enumerate(plain_reader(path)):
            assert (index.file[at], index.number[at], index.offset[at]) == (number, n, offset)
            assert int(index.tag[at]) == int.from_bytes(tag)
            np.testing.assert_array_equal(index[at], image)
            at += 1


def test_pictures_are_views_of_the_file(tmp_path):
    index = GntIndex.of([random_file(tmp_path / "a.gnt", 0)])
    image = index[3]
    assert not image.flags.owndata and not image.flags.writeable
    assert np.shares_memory(image, index[3])


def test_what_is_read_is_written_byte_for_byte(tmp_path):
    path = random_file(tmp_path / "a.gnt", 0)
    path.write_bytes(
        path.read_bytes()
        + record(b"!\0", np.ones((1, 1), np.uint8))
        + record(bytes(2), np.ones((2, 3), np.uint8))
    )
    index = GntIndex.of([path])
    gnt.write(tmp_path / "b.gnt", index.tag.tolist(), (index[n] for n in range(len(index))))
    assert (tmp_path / "b.gnt").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "image", [np.zeros((3, 0), np.uint8), np.zeros((3, 3)), np.zeros((3, 3, 1), np.uint8)]
)
def test_what_no_record_can_hold_is_not_written(tmp_path, image):
    with pytest.raises(PodiumError, match="record 0 must be uint8"):
        gnt.write(tmp_path / "a.gnt", [0], [image])


DAMAGE = {
    "cut short: a header takes 10 bytes, 7 are left": lambda first, second, third: first + second + third[:7],
    "cut short: it takes 110 bytes, 60 are left": lambda first, second, third: first + second + third[:60],
    "corrupted: its size says 99 bytes, 10 x 10 pixels need 110": lambda first, second, third: first
    + struct.pack("<I", 99) + second[4:] + third,
    "corrupted: its size says 110 bytes, 11 x 10 pixels need 120": lambda first, second, third: first
    + second[:6] + b"\x0b" + second[7:] + third,
    "zero-sized: 0 x 10 pixels": lambda first, second, third: first
    + struct.pack("<I2sHH", 10, b"\xd2\xbb", 0, 10) + third,
    "corrupted: its size says 0 bytes, 10 x 10 pixels need 110": lambda first, second, third: first
    + bytes(4) + second[4:] + third,
}  # fmt: skip


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_record_is_named_with_its_offset_and_the_others_stay(tmp_path, reason):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (10, 10), np.uint8) for _ in range(3)]
    path = tmp_path / "a.gnt"
    path.write_bytes(DAMAGE[reason](*(record(b"\xd2\xbb", image) for image in images)))
    index = GntIndex.of([path])
    (fault,) = index.faults
    at = 220 if reason.startswith("cut") else 110
    assert (fault.file, fault.offset, fault.reason) == (str(path), at, reason)
    kept = [images[0], images[1] if at == 220 else images[2]]
    assert [index[n].tolist() for n in range(len(index))] == [image.tolist() for image in kept]


def test_a_record_that_swallows_the_next_is_dropped(tmp_path):
    """Size and height agree, but are too large: only what follows shows it."""
    rng = np.random.default_rng(0)
    records = [record(b"\xd2\xbb", rng.integers(0, 256, (10, 10), np.uint8)) for _ in range(4)]
    records[1] = struct.pack("<I2sHH", 160, b"\xd2\xbb", 10, 15) + records[1][10:]
    (tmp_path / "a.gnt").write_bytes(b"".join(records))
    index = GntIndex.of([tmp_path / "a.gnt"])
    assert index.offset.tolist() == [0, 220, 330]
    assert [(fault.offset, fault.skipped) for fault in index.faults] == [(110, 110)]
    assert "overlaps the record at byte 220" in index.faults[0].reason


def test_files_that_are_empty_gone_or_of_another_kind_are_faults(tmp_path):
    (tmp_path / "empty.gnt").touch()
    (tmp_path / "text.gnt").write_text("no records at all\n" * 999)
    files = [
        tmp_path / "empty.gnt",
        tmp_path / "gone.gnt",
        tmp_path / "text.gnt",
        random_file(tmp_path / "a.gnt", 0),
    ]
    index = GntIndex.of(files)
    assert len(index) == 14 and set(index.file.tolist()) == {3}
    assert [fault.offset for fault in index.faults] == [0, 0, 0]
    assert index.faults[0].reason == "the file is empty"
    assert index.faults[2].skipped == 18 * 999


def flipped(data, starts, rng):
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(changed)


def cut_off(data, starts, rng):
    return data[: rng.integers(len(data))]


def cut_out(data, starts, rng):
    first, last = sorted(rng.integers(len(data) + 1, size=2))
    return data[:first] + data[last:]


def lying(data, starts, rng):
    changed = bytearray(data)
    for start in rng.choice(starts, rng.integers(1, 4), replace=False):
        size, tag, width, height = struct.unpack_from("<I2sHH", changed, start)
        kind = rng.integers(4)
        if kind == 0:
            size = int(
                rng.choice([0, 1, 9, 10, size - 1, size + 1, 2 * size, 2**31, 2**32 - 1, rng.integers(2**32)])
            )
        elif kind == 1:
            width = int(rng.choice([0, width + 1, 65535, rng.integers(65536)]))
        elif kind == 2:
            height = int(rng.choice([0, max(1, height - 1), 65535, rng.integers(65536)]))
        else:  # agrees with itself, and ends where no record begins: else nothing could tell
            heights = rng.permutation(np.arange(1, 200))
            height = next(int(h) for h in heights if start + 10 + width * int(h) not in (*starts, len(data)))
            size = 10 + width * height
        struct.pack_into("<I2sHH", changed, start, size, tag, width, height)
    return bytes(changed)


@pytest.mark.parametrize("mutate", [flipped, cut_off, cut_out, lying])
def test_damaged_files_never_cost_what_was_not_damaged(tmp_path, mutate):
    """600 files each: what is whole is found, what is not is named, and nothing hangs."""
    path = tmp_path / "a.gnt"
    for seed in range(600):
        data = random_file(path, seed).read_bytes()
        whole = plain_reader(path)
        records = [record(tag, image) for _, tag, image in whole]
        starts = [offset for offset, _, _ in whole]
        rng = np.random.default_rng((1, seed))
        damaged = mutate(data, starts, rng)
        path.write_bytes(damaged)
        index = GntIndex.of([path])
        ends = index.offset + 10 + index.width.astype(int) * index.height
        assert (index.offset[1:] >= ends[:-1]).all() and (not len(ends) or ends[-1] <= len(damaged))
        for n in range(len(index)):
            assert index[n].size == index.width[n] * int(index.height[n])
        faults = index.faults
        spans = [(fault.offset, fault.offset + fault.skipped) for fault in faults]
        found = set(index.offset.tolist())
        for start, one in zip(starts, records, strict=True):  # what is whole, wherever it is now
            at = damaged.find(one)
            assert at < 0 or at in found, (mutate.__name__, seed, start, faults)
        covered = sorted([*zip(index.offset.tolist(), ends.tolist(), strict=True), *spans])
        reach = 0
        for first, last in covered:  # every byte is a record's or reported
            assert first <= reach, (mutate.__name__, seed, reach, faults)
            reach = max(reach, last)
        assert reach == len(damaged) or (not damaged and faults[0].reason == "the file is empty")


def test_whole_files_are_not_read_record_by_record(tmp_path, monkeypatch):
    files = [random_file(tmp_path / f"{n}.gnt", n) for n in range(6)]
    expected = GntIndex.of(files).offset.tolist()
    files[2].write_bytes(files[2].read_bytes()[:-1])
    walked = []
    monkeypatch.setattr(gnt, "read_headers", lambda path: walked.append(path) or whole_reader(path))
    index = GntIndex.of(files)
    assert walked == [files[2]] and [fault.file for fault in index.faults] == [str(files[2])]
    assert len(index) == len(expected) - 1 and index.file.tolist() == sorted(index.file.tolist())


whole_reader = gnt.read_headers


def test_what_many_faults_cost_grows_with_their_number(tmp_path, monkeypatch):
    """Counted in records that are followed: at most so many a fault, however long the file is."""
    rng = np.random.default_rng(0)
    one = record(b"\xd2\xbb", rng.integers(0, 256, (20, 20), np.uint8))
    (tmp_path / "a.gnt").write_bytes((one + one[:6] + b"\x15" + one[7:]) * 4000)
    followed, follow = [], gnt._follow
    monkeypatch.setattr(gnt, "_follow", lambda *given: followed.append(follow(*given)) or followed[-1])
    index = GntIndex.of([tmp_path / "a.gnt"])
    assert len(index) == len(index.faults) == 4000
    assert sum(map(len, followed)) < 70 * 4000


def test_a_file_that_is_damaged_everywhere_takes_no_long_time(tmp_path):
    rng = np.random.default_rng(0)
    one = record(b"\xd2\xbb", rng.integers(0, 256, (40, 40), np.uint8))
    broken = one[:7] + b"\xff" + one[8:]
    (tmp_path / "a.gnt").write_bytes((one + broken) * 500)
    index = GntIndex.of([tmp_path / "a.gnt"])
    assert len(index) == 500 and len(index.faults) == 500
