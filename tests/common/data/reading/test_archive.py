"""Zips that are not what they seem."""

import zipfile

import pytest

from common.data.reading.archive import FREE, read_member, unzip
from common.errors import PodiumError


def everything(name: str) -> bool:
    return True


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_small_zip_that_grows_a_thousandfold_is_refused_before_it_does(tmp_path, out):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a", "w") as file,
    ):
        for _ in range(FREE // 10**6 + 1):
            file.write(bytes(10**6))
    with pytest.raises(
        PodiumError, match=r"bomb.zip cannot be unpacked: it holds more than 0.1 GB.*data.unzip_gb"
    ):
        unzip(path, out, everything)
    assert not out.exists()


def test_the_total_counts_and_can_be_raised(tmp_path, out):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in "ab":
            archive.writestr(f"deep/{name}", bytes(600))
    with pytest.raises(PodiumError, match="holds more than 1e-06 GB"):
        unzip(path, out, everything, most_gb=1e-6)
    unzip(path, out, everything, most_gb=2e-6)
    assert sorted(one.name for one in (out / "deep").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a", "C:/a", "..\\a"])
def test_names_that_lead_out_are_refused(tmp_path, out, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(PodiumError, match="leads out of its folder"):
        unzip(tmp_path / "a.zip", out, everything)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_links_are_refused(tmp_path, out):
    member = zipfile.ZipInfo("a")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, b"/etc/passwd")
    with pytest.raises(PodiumError, match="is a link"):
        unzip(tmp_path / "a.zip", out, everything)


def test_a_size_that_lies_is_found_out(tmp_path, out):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10_000))
    path.write_bytes(path.read_bytes().replace((10_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(PodiumError, match=r"a.zip cannot be unpacked"):
        unzip(path, out, everything)


def test_one_member_is_read_within_its_bound(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/about.json", b"{}" * 50)
    assert read_member(tmp_path / "a.zip", "about.json", 100) == b"{}" * 50
    assert read_member(tmp_path / "a.zip", "other.json", 100) is None
    with pytest.raises(zipfile.BadZipFile):
        read_member(tmp_path / "a.zip", "about.json", 99)
