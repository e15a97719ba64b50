"""ImageData: every image once, the same views for everyone, bad input named."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common.data.folder import FolderData
from common.data.pixels import arrays
from common.data.pixels.arrays import Packed, Pixels, Unread
from common.errors import PodiumError
from tests.toys import write_images

VIEWS = {
    "image": [],
    "batch": {"affine": {"_target_": "common.data.augmentation.batch_views.Affine", "shift": 0.2}},
}


def data(root, folder, **options):
    given = {
        "size": [16, 16],
        "channels": 1,
        "seed": 3,
        "views": VIEWS,
        "batch_size": 8,
        "valid": 0.25,
    } | options
    module = FolderData(root=str(root), folder=str(folder), **given)
    module.setup()
    return module


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / "images")
    return tmp_path / "images"


def test_parts_are_disjoint_and_stratified(root, tmp_path):
    found = data(root, tmp_path / "run")
    train, valid = found.rows("train"), found.rows("valid")
    assert sorted([*train, *valid]) == list(range(48))
    assert found.table.iloc[valid]["label"].value_counts().tolist() == [3, 3, 3, 3]


def test_the_split_is_stored_and_taken_up_again(root, tmp_path):
    first = data(root, tmp_path / "run")
    again = data(root, tmp_path / "run", seed=99)
    assert first.table["part"].tolist() == again.table["part"].tolist()
    elsewhere = data(root, tmp_path / "other", seed=99, split=str(tmp_path / "run" / "folds.csv"))
    assert first.table["part"].tolist() == elsewhere.table["part"].tolist()
    assert data(root, tmp_path / "third", seed=99).table["part"].tolist() != first.table["part"].tolist()


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("processes", [1, 2, 5, 20])
def test_processes_validate_each_image_once_in_as_many_batches(processes, size, root, tmp_path):
    """12 images: of five processes two have one more, and of twenty eight have none."""
    found = data(root, tmp_path / "run", batch_size=size)
    each = []
    for rank in range(processes):
        found.trainer = SimpleNamespace(global_rank=rank, world_size=processes)
        each.append([batch["index"].tolist() for batch in found.val_dataloader()])
    assert len({len(batches) for batches in each}) == 1
    assert (
        sorted(row for batches in each for batch in batches for row in batch) == found.rows("valid").tolist()
    )


def test_images_looked_at_together_are_bounded_by_their_pixels_and_their_classes(root, tmp_path):
    small = data(root, tmp_path / "run", batch_size=12)
    assert [len(batch["index"]) for batch in small.in_order(np.arange(48))] == [24, 24]
    assert small.together() == 24
    large = data(root, tmp_path / "large", batch_size=2048, in_memory_bytes=0)
    large.preprocessing |= {"size": [224, 224], "channels": 3}
    assert large.together() * 224 * 224 * 3 * 4 <= 2**27 < (large.together() + 1) * 224 * 224 * 3 * 4
    large.preprocessing |= {"size": [16, 16]}
    large.class_names = ["a"] * 50_030
    assert large.together() == 2**25 // 50_030


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_serves_every_image_once_in_order(root, tmp_path, workers):
    found = data(root, tmp_path / "run", workers=workers)
    batches = list(found.val_dataloader())
    assert torch.cat([batch["index"] for batch in batches]).tolist() == found.rows("valid").tolist()
    images = torch.cat([batch["image"] for batch in batches])
    for image, row in zip(images, found.rows("valid"), strict=True):
        plain = cv2.imdecode(np.fromfile(found.table["path"][row], np.uint8), cv2.IMREAD_GRAYSCALE)
        assert torch.equal(image[0], torch.from_numpy(plain))


def test_workers_do_not_change_what_is_seen(root, tmp_path):
    for views in (VIEWS, {"image": [{"Affine": {"rotate": [-20, 20]}}], "batch": {}}):
        alone = list(data(root, tmp_path / "run", views=views).train_dataloader())
        shared = list(data(root, tmp_path / "run", views=views, workers=2).train_dataloader())
        for one, other in zip(alone, shared, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_unreadable_images_are_listed_and_left_out(root, tmp_path, capsys):
    (root / "bar" / "0.png").write_bytes(b"no picture")
    found = data(root, tmp_path / "run")
    assert len(found.table) == 47
    bad = pd.read_csv(tmp_path / "run" / "bad_images.csv")
    assert bad["path"].tolist() == [str(root / "bar" / "0.png")] and bad["reason"].notna().all()
    assert "1 of 48 images could not be read" in capsys.readouterr().out


def test_too_many_unreadable_images_stop_the_run(root, tmp_path):
    for number in range(5):
        (root / "bar" / f"{number}.png").write_bytes(b"")
    with pytest.raises(PodiumError, match=r"(?s)5 of 48 images .*max_bad_share=0.05"):
        data(root, tmp_path / "run")
    assert len(data(root, tmp_path / "other", max_bad_share=0.5).table) == 43


def test_copies_of_a_picture_stay_together(root, tmp_path):
    for name in ("bar", "cross"):
        for number in range(4):
            (root / name / f"copy{number}.png").write_bytes((root / name / "1.png").read_bytes())
    for seed in range(5):
        table = data(root, tmp_path / f"run{seed}", seed=seed, near_duplicates=True).table
        for name in ("bar", "cross"):
            copies = table[table["id"].str.match(f"{name}/(copy|1.png)")]
            assert copies["part"].nunique() == 1 and copies["group"].nunique() == 1


def test_a_split_of_a_run_that_compared_no_pictures_does_not_switch_the_comparison_off(
    root, tmp_path, capsys
):
    """Copies that the other run put into two folds are grouped here, and the group that is parted is counted."""
    for number in range(4):
        (root / "bar" / f"copy{number}.png").write_bytes((root / "bar" / "1.png").read_bytes())
    first = data(root, tmp_path / "first", folds=2, fold=0, valid=0.0).table
    alike = first["id"].str.match("bar/(copy|1.png)")
    assert first["part"].nunique() == 1 and set(first["fold"][alike]) == {0, 1}
    assert "near-duplicates" not in capsys.readouterr().out
    options = {"folds": 2, "fold": 0, "valid": 0.0, "near_duplicates": True}
    found = data(root, tmp_path / "second", split=str(tmp_path / "first" / "folds.csv"), **options).table
    assert found["fold"].tolist() == first["fold"].tolist()
    assert found["group"][alike].nunique() == 1 and found["group"].nunique() == 48
    assert "1 groups of near-duplicates stand on both sides" in capsys.readouterr().out
    again = data(root, tmp_path / "second", **options).table
    assert again["group"].tolist() == found["group"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "data.channels must be 1"),
        ({"size": [16]}, r"data.size must be \[height, width\]"),
        ({"batch_size": 0}, "data.batch_size"),
        ({"in_memory_bytes": -1}, "data.in_memory_bytes must be at least 0"),
        ({"valid": 1.0}, r"data.valid must be in \(0, 1\)"),
    ],
)
def test_options_out_of_range_name_their_key(root, tmp_path, options, message):
    with pytest.raises(PodiumError, match=message):
        data(root, tmp_path / "run", **options)


def test_a_stored_split_without_its_columns_is_refused(root, tmp_path):
    (tmp_path / "folds.csv").write_text("id\nbar/0.png\n")
    with pytest.raises(PodiumError, match="column part is missing"):
        data(root, tmp_path / "run", split=str(tmp_path / "folds.csv"))


def test_packed_batches_are_those_from_memory(root, tmp_path, capsys):
    (root / "bar" / "0.png").write_bytes(b"no picture")
    memory = data(root, tmp_path / "one", size=[12, 10])
    packed = data(root, tmp_path / "two", size=[12, 10], packs=str(tmp_path / "pack"), in_memory_bytes=0)
    assert isinstance(packed.pixels, Packed)
    for loader in ("train_dataloader", "val_dataloader"):
        for one, other in zip(getattr(memory, loader)(), getattr(packed, loader)(), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)
    bad = [(tmp_path / run / "bad_images.csv").read_text() for run in ("one", "two")]
    assert bad[0] == bad[1]
    said = capsys.readouterr().out
    assert "47 pictures" in said and str(tmp_path / "pack" / "12x10x1-") in said


def test_few_pictures_are_packed_by_wish_alone_and_read_from_there_while_fresh(root, tmp_path):
    place = {"packs": str(tmp_path / "pack")}
    first = data(root, tmp_path / "run", **place)
    assert isinstance(first.pixels, Pixels) and not (tmp_path / "pack").exists()
    first.pack()
    assert isinstance(data(root, tmp_path / "run", **place).pixels, Packed)
    shutil.copyfile(
        root / "bar" / "1.png", root / "bar" / "0.png"
    )  # that is in the pack, under whatever name
    assert isinstance(data(root, tmp_path / "run", **place).pixels, Packed)
    cv2.imwrite(str(root / "bar" / "0.png"), 255 - cv2.imread(str(root / "bar" / "0.png")))
    assert isinstance(data(root, tmp_path / "run", **place).pixels, Pixels)


def test_pictures_for_image_views_stay_in_memory_as_they_are(root, tmp_path, capsys):
    views = {"image": [{"Affine": {"rotate": [-20, 20]}}], "batch": {}}
    options = {"views": views, "size": [8, 8], "packs": str(tmp_path / "pack")}
    found = data(root, tmp_path / "run", in_memory_bytes=48 * 16 * 16, **options)
    assert found.pixels[0].shape == (16, 16, 1) and not (tmp_path / "pack").exists()
    said = capsys.readouterr().out
    assert "48 pictures" in said and "views.image" in said


@pytest.mark.parametrize("workers", [0, 1])
def test_image_views_of_pictures_beyond_memory_are_those_of_pictures_in_memory(root, tmp_path, workers):
    (root / "bar" / "0.png").write_bytes(b"")
    given = {"views": {"image": [{"Fliplr": 0.5}], "batch": {}}, "workers": workers, "max_bad_share": 0.1}
    held = data(root, tmp_path / "run", **given)
    limit = held.pixels.buffer.nbytes
    read = data(root, tmp_path / "run", in_memory_bytes=limit - 1, **given)
    assert isinstance(held.pixels, Pixels) and isinstance(read.pixels, Unread)
    assert isinstance(data(root, tmp_path / "run", in_memory_bytes=limit, **given).pixels, Pixels)
    pd.testing.assert_frame_equal(held.table, read.table)
    for one, other in zip(held.train_dataloader(), read.train_dataloader(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_large_pictures_beyond_memory_are_decoded_at_a_reduced_scale(root, tmp_path):
    large = np.full((160, 320, 3), 90, np.uint8)
    cv2.imencode(".jpg", large)[1].tofile(root / "bar" / "large.jpg")
    given = {"views": {"image": [{"Fliplr": 0.5}], "batch": {}}}
    for limit, shape in ((2**30, (160, 320, 1)), (0, (40, 80, 1))):  # at least twice the model's 16 pixels
        found = data(root, tmp_path / "run", in_memory_bytes=limit, **given)
        (row,) = np.flatnonzero(found.table["id"] == "bar/large.jpg")
        assert found.pixels[row].shape == shape


def test_pictures_of_several_pieces_are_in_order(monkeypatch):
    monkeypatch.setattr(arrays, "TRIED", 3)
    images = [np.full((number + 1, 2, 1), number, np.uint8) for number in range(8)]
    found, rows, errors = arrays.decode_within(10**6, 8, images.__getitem__, images.__getitem__)
    assert rows.tolist() == list(range(8)) and not errors
    assert all(np.array_equal(found[number], image) for number, image in enumerate(images))
