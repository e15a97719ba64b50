"""Every kind of file shows what was painted, or says why it does not."""

import numpy as np
import pytest
from PIL import Image as Pillow

from common.data.files.found import pictures_below
from common.data.reading.formats import SUFFIXES, bytes_of_pixel, orientation
from common.data.reading.images import ImageError, decode, read
from tests.kinds import kinds, scene, unreadable, write_kinds

KINDS = {kind.name: kind for kind in kinds()}


@pytest.mark.parametrize("name", KINDS)
def test_it_shows_what_was_painted(name):
    kind = KINDS[name]
    image = decode(kind.data, 3)
    assert image.shape == kind.shows.shape
    assert np.abs(image.astype(int) - kind.shows).mean() <= kind.off
    grey = np.asarray(Pillow.fromarray(kind.shows).convert("L")).astype(int)
    assert np.abs(decode(kind.data, 1)[:, :, 0] - grey).mean() <= kind.off + 1


def test_a_folder_of_them_is_found_whole_and_every_suffix_is_tried(tmp_path):
    write_kinds(tmp_path)
    found = pictures_below(tmp_path)
    assert {path.name for path in found.pictures} == {*KINDS} and not found.left_aside()
    tried = {path.suffix.lower() for path in found.pictures}
    aliases = {
        ".jif",
        ".pjpeg",
        ".apng",
        ".jpc",
        ".j2c",
        ".pbm",
        ".pic",
    }  # of formats that have another name here
    assert tried - {""} == SUFFIXES - aliases


@pytest.mark.parametrize(("name", "data"), unreadable().items())
def test_what_is_refused_says_what_to_do(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    assert [path.name for path in pictures_below(tmp_path).pictures] == [name]
    with pytest.raises(ImageError, match=r"8 bits|with 8 or 16|convert it to JPEG"):
        read(tmp_path / name, 3)


@pytest.mark.parametrize("how", range(1, 9))
@pytest.mark.parametrize("form", ["AVIF", "WEBP", "PNG"])
def test_all_eight_orientations(how, form, tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = how
    path = tmp_path / "picture"
    Pillow.fromarray(scene()).save(path, form, exif=exif, quality=100)
    quarter, mirror = {
        1: (0, 0),
        2: (0, 1),
        3: (2, 0),
        4: (2, 1),
        5: (3, 1),
        6: (3, 0),
        7: (1, 1),
        8: (1, 0),
    }[how]
    expected = np.rot90(scene(), quarter)
    expected = expected[:, ::-1] if mirror else expected  # «row 0 is the visual right side», and so on
    assert orientation(path.read_bytes()) == how
    assert np.abs(read(path, 3).astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    "name", ["alpha.tif", "alpha.avif", "alpha.jp2", "double.tif", "float.pfm", "plain.png"]
)
def test_memory_is_foreseen(name):
    """Of what is held at once: the decoded pixels, their copies and what is given back."""
    data = KINDS[name].data
    assert bytes_of_pixel(data) == {"alpha": 12, "double": 40, "float": 40, "plain": 3}[name.split(".")[0]]
