"""Files appear whole or not at all, whatever stands at their path."""

import errno
import os
import threading

import pytest

from common.errors import PodiumError
from common.files import check_inside, is_stream, made, make_folder, write_text, written


def test_a_file_is_whole_or_as_it_was(tmp_path):
    file = tmp_path / "new" / "a.txt"
    write_text(file, "one")
    with pytest.raises(ZeroDivisionError), written(file) as partial:
        partial.write_text("half")
        1 / 0  # noqa: B018
    assert file.read_text() == "one" and [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_a_link_that_the_caller_names_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link.txt", tmp_path / "there" / "file.txt"
    file.write_text("old")
    link.symlink_to("there/file.txt")
    write_text(link, "new", follow=True)
    assert link.is_symlink() and file.read_text() == "new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("there/more")
    make_folder(dangling)
    write_text(dangling / "a.txt", "deep")
    assert (tmp_path / "there" / "more" / "a.txt").read_text() == "deep"


@pytest.mark.parametrize("name", ["a.txt", ".a.txt.partial"])
def test_a_link_that_somebody_else_laid_there_is_replaced_itself(name, tmp_path):
    """As in a received run folder, whose links must not lead to files of the caller's."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(victim)
    write_text(tmp_path / "run" / "a.txt", "new")
    assert victim.read_text() == "precious" and (tmp_path / "run" / "a.txt").read_text() == "new"
    assert not (tmp_path / "run" / "a.txt").is_symlink()


def test_a_folder_within_a_run_must_not_lead_out_of_it(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "evaluation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PodiumError, match=r"evaluation is a link that leads out.*OUT="):
        check_inside(tmp_path / "run" / "evaluation", tmp_path / "run")
    (tmp_path / "mine").symlink_to(tmp_path / "run")  # a run on another disk
    assert check_inside(tmp_path / "mine" / "export", tmp_path / "mine") == tmp_path / "mine" / "export"


def test_a_pipe_and_a_device_are_written_into(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through", follow=True)
    reader.join(60)
    assert got == ["through"] and is_stream(pipe) and pipe.is_fifo()
    before = sorted(os.listdir("/dev"))
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    for path in (null, null.resolve()):
        write_text(path, "gone", follow=True)
    assert null.resolve().is_char_device() and sorted(os.listdir("/dev")) == before


def test_standard_output_is_never_replaced():
    from pathlib import Path

    assert is_stream(Path("/dev/stdout")) and is_stream(Path("/dev/fd/1"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_one_message_that_names_the_file(tmp_path):
    from pathlib import Path

    with pytest.raises(PodiumError, match=r"/dev/full could not be written.*make room"):
        write_text(Path("/dev/full"), "x" * 10_000, follow=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(PodiumError, match=r"file/a could not be written"):
        write_text(tmp_path / "file" / "a", "x")


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path):
    with pytest.raises(PodiumError, match="sample could not be written"), made(tmp_path / "sample"):
        (tmp_path / ".sample.partial").mkdir()
        raise OSError(errno.ENOSPC, "as a disk says it")
    assert not list(tmp_path.iterdir())
