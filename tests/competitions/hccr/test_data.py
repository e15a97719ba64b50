"""Files in folders and zips become records: parts by name, classes by tag, writers whole."""

import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data import predictions
from common.data.reading.images import ImageError, read
from common.errors import PodiumError
from competitions.hccr.data import HccrData
from competitions.hccr.files import gnt_files, unpack
from competitions.hccr.gnt import GntIndex
from tests.competitions.hccr.records import CHARACTERS, record, write_writer


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "hwdb"
    for number in range(10):
        write_writer(root / f"HWDB1.1trn_gnt/{number:03d}-c.gnt", number)
    write_writer(root / "HWDB1.1tst_gnt/100-c.gnt", 100)
    write_writer(root / "tst_unlabelled/200-c.gnt", 200, known=False)
    return root


def data(root, **settings):
    recipe = {"size": [32, 32], "channels": 1, "folder": str(root.parent / "run"), "seed": 0}
    views = {"image": [], "batch": {}}
    return HccrData(root=str(root), views=views, **(recipe | settings))


def zipped(folder):
    """The folder's files in one zip beside it, instead of it."""
    path = folder.with_suffix(".zip") if not folder.suffix else folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.gnt")):
            archive.write(file, file.name)
    for file in folder.rglob("*.gnt"):
        file.unlink()
    folder.rmdir()
    return path


def test_parts_are_told_by_names_and_classes_by_tags(root):
    found = data(root)
    found.setup()
    assert found.class_names == sorted(CHARACTERS, key=lambda name: name.encode("gbk"))
    count = len(CHARACTERS)
    assert [len(found.rows(part)) for part in ("train", "valid", "score")] == [9 * count, count, count]
    assert set(found.table["group"][found.rows("score")]) == {"HWDB1.1tst_gnt/100-c.gnt"}


def test_pictures_that_teachers_labelled_join_records_whose_parts_are_known(root):
    new, ids = root.parent / "new", ["unlabelled/0.png", "unlabelled/1.png"]
    new.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        cv2.imencode(".png", noise)[1].tofile(new / f"{number}.png")
    taught = root.parent / "taught.parquet"
    predictions.write(taught, ids, np.full(2, -1), np.eye(len(CHARACTERS), dtype=np.float32)[[3, 3]])
    before = data(root, folds=5, fold=0)
    before.setup()
    found = data(root, folds=5, fold=0, unlabelled=str(new), taught=str(taught))
    found.setup()
    rows = np.flatnonzero(found.table["id"].isin(ids))
    assert len(rows) == 2 and set(rows) <= set(found.rows("train"))
    assert (found.table["label"].iloc[rows] == 3).all()
    for part in ("valid", "score"):
        assert (
            found.table["id"].iloc[found.rows(part)].tolist()
            == before.table["id"].iloc[before.rows(part)].tolist()
        )


def test_writers_are_never_parted(root):
    found = data(root, folds=5, fold=0)
    found.setup()
    table = found.table
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert table[table["part"] == "train"]["fold"].nunique() == 5


def test_the_picture_of_a_row_is_its_record(root):
    table, names = data(root).records()
    files = [path for _, path in gnt_files(root)]
    index = GntIndex.of(files)
    by_id = table.set_index("id")
    for n in range(0, len(index), 7):
        name = f"{files[index.file[n]].relative_to(root).as_posix()}#{index.number[n]}"
        if name in by_id.index:
            np.testing.assert_array_equal(read(by_id.loc[name, "path"], 1)[:, :, 0], index[n])
            assert names[by_id.loc[name, "label"]].encode("gbk") == int(index.code[n]).to_bytes(2)


def test_zips_are_unpacked_once_and_give_the_same_records(root, capsys):
    before, _ = data(root).records()
    for folder in sorted(root.iterdir()):
        zipped(folder)
    capsys.readouterr()
    found = data(root)
    found.prepare()
    assert capsys.readouterr().out.count("unpacking") == 3
    table, _ = found.records()
    assert "unpacking" not in capsys.readouterr().out
    assert table["label"].tolist() == before["label"].tolist() and table["part"].equals(before["part"])
    assert len(found.test_records()) == len(CHARACTERS)
    assert not [path for path in root.iterdir() if path.suffix != ".zip"]  # nothing is written into the root


@pytest.mark.parametrize("place", ["{folder}/{file}", "{file}", "HWDB/{file}"])
def test_a_zip_beside_what_it_holds_is_not_read_twice(root, capsys, place):
    """With a top folder of its own name, without one, and with another that is unpacked next to the zip."""
    before, _ = data(root).records()
    folder = root / "HWDB1.1trn_gnt"
    with zipfile.ZipFile(root / f"{folder.name}.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, place.format(folder=folder.name, file=file.name))
    if place.startswith("HWDB/"):
        folder.rename(root / "HWDB")
    capsys.readouterr()
    after, _ = data(root).records()
    assert "10 of its 10 files are unpacked beside it" in capsys.readouterr().out
    assert len(after) == len(before) and after["group"].nunique() == before["group"].nunique()


def test_a_zip_with_a_folder_of_its_name_gives_the_names_that_unpacking_gives(root):
    before = [name for name, _ in gnt_files(root)]
    folder = root / "HWDB1.1trn_gnt"
    with zipfile.ZipFile(root / f"{folder.name}.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
            file.unlink()
    assert [name for name, _ in gnt_files(root)] == before


def test_an_interrupted_or_damaged_zip_leaves_nothing(root, monkeypatch):
    path = zipped(root / "HWDB1.1tst_gnt")
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    with pytest.raises(PodiumError, match=r"cannot be unpacked.*get it anew"):
        unpack(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(PodiumError, match="cannot be unpacked"):
        data(root).records()
    path.write_bytes(whole)
    assert [file.name for file in unpack(path).iterdir()] == ["100-c.gnt"]


def test_what_leads_out_of_the_folder_is_refused(root, tmp_path):
    with zipfile.ZipFile(root / "evil.zip", "w") as archive:
        archive.writestr("../../../evil.gnt", record(b"\xd2\xbb", np.ones((3, 3), np.uint8)))
    with pytest.raises(PodiumError, match="leads out of its folder"):
        unpack(root / "evil.zip")
    assert not list(tmp_path.rglob("evil.gnt"))


def test_what_a_zip_may_hold_is_bounded_by_a_key(root):
    zipped(root / "HWDB1.1trn_gnt")
    with pytest.raises(PodiumError, match=r"data.unzip_gb"):
        data(root, unzip_gb=1e-6).records()
    assert not list((root.parent / "data").rglob("*.gnt"))
    assert len(data(root, unzip_gb=1).records()[0])


def test_unknown_tags_are_for_the_submission_in_the_files_order(root):
    table = data(root).test_records()
    assert table["id"].tolist() == [f"tst_unlabelled/200-c.gnt#{n}" for n in range(len(CHARACTERS))]
    assert (table["label"] == -1).all()
    (root / "tst_unlabelled/200-c.gnt").unlink()
    assert data(root).test_records()["id"].iloc[0] == "HWDB1.1tst_gnt/100-c.gnt#0"


def test_a_file_without_a_single_tag_is_never_trained_on(root):
    write_writer(root / "HWDB1.1trn_gnt/999-c.gnt", 3, known=False)
    table, _ = data(root).records()
    assert not table["id"].str.contains("999").any()
    assert len(data(root).test_records()) == 2 * len(CHARACTERS)


def test_a_lexicon_fixes_the_classes(root, tmp_path, capsys):
    (tmp_path / "lexicon.txt").write_bytes("\r\n".join(["啊", *CHARACTERS[:-1]]).encode("gb2312"))
    found = data(root, lexicon=str(tmp_path / "lexicon.txt"), max_bad_share=0.2)
    found.setup()
    assert found.class_names == ["啊", *CHARACTERS[:-1]]
    assert "classes without a picture: 啊" in capsys.readouterr().out
    faults = pd.read_csv(tmp_path / "run" / "gnt_faults.csv")
    assert len(faults) == 11 and (faults["reason"] == f"its tag «{CHARACTERS[-1]}» is no class").all()


def test_damaged_records_are_listed_with_file_and_offset(root, tmp_path, capsys):
    path = root / "HWDB1.1trn_gnt/003-c.gnt"
    content = bytearray(path.read_bytes())
    content[2 * 794] ^= 1  # the size of the third record: 28 x 28 pixels and a header each
    path.write_bytes(content)
    table, _ = data(root).records()
    assert len(table) == 11 * len(CHARACTERS) - 1
    faults = pd.read_csv(tmp_path / "run" / "gnt_faults.csv")
    assert faults[["file", "offset", "skipped"]].values.tolist() == [[str(path), 2 * 794, 794]]
    assert "1 records cannot be used" in capsys.readouterr().out
    with pytest.raises(PodiumError, match=r"more than data.max_bad_share=0.001.*byte 1588: corrupted"):
        data(root, max_bad_share=0.001).records()


@pytest.mark.parametrize("with_lexicon", [False, True])
@pytest.mark.parametrize("tag", [b"\xa2\xa0", b"\xa1\xa1", b"\x07\0"])
def test_a_tag_that_is_no_character_is_a_fault_and_no_class(root, tmp_path, tag, with_lexicon):
    path = root / "HWDB1.1trn_gnt/003-c.gnt"
    content = bytearray(path.read_bytes())
    content[2 * 794 + 4 : 2 * 794 + 6] = tag
    path.write_bytes(content)
    (tmp_path / "lexicon.txt").write_text("\n".join(CHARACTERS), encoding="utf-8")
    found = data(root, lexicon=str(tmp_path / "lexicon.txt") if with_lexicon else None)
    found.setup()
    assert sorted(found.class_names) == sorted(CHARACTERS)
    faults = pd.read_csv(tmp_path / "run" / "gnt_faults.csv")
    assert faults["offset"].tolist() == [2 * 794]
    assert "is no character" in faults["reason"][0]


def test_predicting_leaves_the_faults_of_training_and_prints_its_own(root, tmp_path, capsys):
    for name in ("HWDB1.1trn_gnt/003-c.gnt", "tst_unlabelled/200-c.gnt"):
        (root / name).write_bytes((root / name).read_bytes()[:-5])
    data(root).records()
    listed = (tmp_path / "run" / "gnt_faults.csv").read_bytes()
    capsys.readouterr()
    assert len(data(root).test_records()) == len(CHARACTERS) - 1
    said = capsys.readouterr().out
    assert said.count("left out") == 1 and "200-c.gnt: byte" in said
    assert (tmp_path / "run" / "gnt_faults.csv").read_bytes() == listed


@pytest.mark.parametrize("part", ["Levelled", "Original"])
def test_colour_is_refused_with_what_to_set(root, part):
    picture = {"_target_": f"competitions.hccr.normalise.{part}"}
    with pytest.raises(PodiumError, match=r"data\.channels must be 1, got 3"):
        data(root, channels=3, picture=picture).setup()


def test_concatenated_files_are_parted_into_writers(root):
    folder = root / "HWDB1.1trn_gnt"
    files = sorted(folder.iterdir())
    joined = b"".join(path.read_bytes() for path in files)
    for path in files:
        path.unlink()
    (folder / "train.gnt").write_bytes(joined)
    found = data(root)
    found.setup()
    groups = found.table["group"][found.table["part"] != "score"]
    assert groups.nunique() == 10 and (groups.value_counts() == len(CHARACTERS)).all()


@pytest.mark.parametrize(("name", "said"), [("x.gnt", "no record to train on"), ("x.txt", "no .gnt file")])
def test_a_root_without_training_records_is_named(tmp_path, name, said):
    root = tmp_path / "root"
    write_writer(root / name, 0, known=False)
    with pytest.raises(PodiumError, match=said):
        data(root).records()


def test_a_file_that_shrinks_is_an_error_with_a_path(root):
    table, _ = data(root).records()
    path = root / "HWDB1.1trn_gnt/003-c.gnt"
    row = table[table["id"].str.startswith("HWDB1.1trn_gnt/003")]["path"].iloc[-1]
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(ImageError, match="the file ends before"):
        read(row, 1)


def test_keys_of_pictures_follow_their_file_and_place(root):
    found = data(root)
    table, _ = found.records()
    keys = found.picture_keys(table)
    assert len(set(keys.tolist())) == len(table)
    path = root / "HWDB1.1trn_gnt/003-c.gnt"
    path.write_bytes(path.read_bytes() + bytes(3))
    changed = found.picture_keys(table) != keys
    assert (changed == table["id"].str.startswith("HWDB1.1trn_gnt/003").to_numpy()).all()


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("gntTest", "score"), ("hwdbtest", "score"), ("HWDBTest1.1", "score"), ("Test", "score"), ("1.1tst", "score"),
        ("testing_set", "score"), ("CASIA-HWDB1.1-tst", "score"), ("Gnt1.1TestPart1", "score"),
        ("contest", None), ("latest", None), ("greatest_fastest", None), ("gntTrain", None), ("HWDB1.1trn", None),
        ("hwdbValid", "valid"), ("val", "valid"), ("invalid", None), ("gntUnlabeled", "unlabelled"),
    ],
)  # fmt: skip
def test_what_folders_are_for_is_told_from_words_in_any_spelling(root, folder, part, capsys):
    write_writer(root / folder / "300-c.gnt", 300)
    found = data(root)
    table = found.records()[0]
    mine = table[table["id"].str.startswith(f"{folder}/")]
    if part == "unlabelled":
        assert not len(mine)
    elif part is None:
        assert len(mine) == len(CHARACTERS) and mine["part"].isna().all()
    else:
        assert len(mine) == len(CHARACTERS) and set(mine["part"]) == {part}


def test_writers_of_tests_are_never_trained_on(root, capsys):
    (root / "more").mkdir()
    for name in ("100-f.gnt", "by_another_name.gnt"):  # of that writer, and a copy of that file
        (root / "more" / name).write_bytes((root / "HWDB1.1tst_gnt" / "100-c.gnt").read_bytes())
    write_writer(root / "more" / "100.gnt", 7)  # a number that is no writer's
    found = data(root)
    found.setup()
    trained = {image.split("#")[0] for image in found.table["id"][found.table["part"] != "score"]}
    assert trained == {*(f"HWDB1.1trn_gnt/{number:03d}-c.gnt" for number in range(10)), "more/100.gnt"}
    assert f"{2 * len(CHARACTERS)} records of writers" in capsys.readouterr().out


def test_what_a_system_adds_to_a_zip_is_no_data(root):
    path = zipped(root / "HWDB1.1tst_gnt")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._100-c.gnt", b"\0\5\x16\7" + bytes(60))
    assert [name for name, _ in gnt_files(path)] == ["100-c.gnt"]
