"""A file counts as unchanged only while nothing says otherwise."""

import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from common.data.files import digests as module
from common.data.files.digests import digests


@pytest.fixture
def files(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * 3000)
    return sorted(map(str, tmp_path.glob("*.bin")))


@pytest.fixture
def hashed(monkeypatch):
    """Paths of the files whose bytes are read."""
    seen, plain = [], module._hash
    monkeypatch.setattr(module, "_hash", lambda path: seen.append(path) or plain(path))
    return seen


def direct(path):
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def test_they_are_of_the_bytes_and_read_once(files, hashed, tmp_path):
    known = tmp_path / "data" / "files.sqlite"
    assert digests([*files, files[0]], known) == [*map(direct, files), direct(files[0])]
    assert sorted(hashed) == files
    assert digests(files, known) == [*map(direct, files)]
    assert sorted(hashed) == files


def test_a_file_of_equal_size_and_time_in_the_place_of_another_is_seen(files, hashed, tmp_path):
    known = tmp_path / "files.sqlite"
    digests(files, known)
    found = os.stat(files[0])
    Path(files[0]).write_bytes(b"x" * 3000)  # in the same inode
    os.utime(files[0], ns=(found.st_atime_ns, found.st_mtime_ns))
    shutil.copy2(files[1], tmp_path / "other")  # another inode, with the times of what it is copied from
    (tmp_path / "other").write_bytes(b"y" * 3000)
    os.utime(tmp_path / "other", ns=(found.st_atime_ns, os.stat(files[1]).st_mtime_ns))
    (tmp_path / "other").replace(files[1])
    hashed.clear()
    assert digests(files, known) == [*map(direct, files)]
    assert sorted(hashed) == files[:2]


def test_what_cannot_be_read_has_a_text_of_its_own_and_is_tried_again(files, tmp_path):
    known = tmp_path / "files.sqlite"
    Path(files[2]).unlink()
    found = digests(files, known)
    assert Path(files[2]).name in found[2] and len({*found}) == 5
    elsewhere = tmp_path / "elsewhere" / Path(files[2]).name
    assert digests([str(elsewhere)]) == [
        found[2]
    ]  # a data set with a broken link is the same one where it has moved
    Path(files[2]).write_bytes(b"back")
    assert digests(files, known)[2] == direct(files[2])


def test_a_list_that_cannot_be_used_costs_time_alone(files, hashed, tmp_path):
    known = tmp_path / "files.sqlite"
    known.write_bytes(b"no database" * 100)
    for _ in range(2):
        assert digests(files, known) == [*map(direct, files)]
    assert len(hashed) == 10
    known.unlink()
    sqlite3.connect(known).close()
    assert digests(files, known) == digests(files) == [*map(direct, files)]
