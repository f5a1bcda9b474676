"""Outputs are whole or absent, and an earlier one survives every failure."""

import resource
from pathlib import Path

import pytest

from ullme.atomic import atomic_dir, atomic_write
from ullme.errors import OutputError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_only_at_the_end(tmp_path):
    target = tmp_path / "out.bin"
    with atomic_write(target) as handle:
        handle.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == {"out.bin"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_file_leaves_the_old_one(tmp_path, failure):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def interrupted():
        with atomic_write(target, "w") as handle:
            handle.write("ne")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert target.read_text() == "old"
    assert names(tmp_path) == {"out.txt"}


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link", "w") as handle:
        handle.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_never_replaced(tmp_path):
    with pytest.raises(OutputError, match="not a regular file"), atomic_write("/dev/null"):
        pass


@pytest.mark.parametrize("opened", [atomic_write, atomic_dir])
def test_a_missing_parent_is_named(tmp_path, opened):
    target = tmp_path / "no" / "out"
    with pytest.raises(OutputError, match=f"cannot write {target}: the folder {target.parent} does not exist"):
        opened(target).__enter__()


@pytest.fixture
def small_disk():
    """The system refuses to let a file grow, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_reported_and_the_old_file_survives(tmp_path, small_disk):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    message = r"cannot write .*out\.bin: .*earlier outputs are intact"
    with pytest.raises(OutputError, match=message), atomic_write(target) as handle:
        handle.write(bytes(2 << 20))
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"out.bin"}


def test_a_full_disk_leaves_the_old_folder(tmp_path, small_disk):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"cannot write .*out: "), atomic_dir(tmp_path / "out") as folder:
        (folder / "a").write_bytes(bytes(2 << 20))
    assert (tmp_path / "out" / "a").read_bytes() == b"old"
    assert names(tmp_path) == {"out"}


def test_an_error_that_is_not_about_the_output_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "out"):
        (tmp_path / "input").read_bytes()
    assert not isinstance(caught.value, OutputError)


def test_a_folder_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "out"
    for text in ("first", "second"):
        with atomic_dir(target) as folder:
            (folder / text).touch()
    assert names(target) == {"second"}
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one(tmp_path, failure):
    with atomic_dir(tmp_path / "out") as folder:
        (folder / "old").touch()

    def interrupted():
        with atomic_dir(tmp_path / "out") as folder:
            (folder / "new").touch()
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert names(tmp_path / "out") == {"old"}
    assert names(tmp_path) == {"out"}


def test_the_first_folder_wins_when_asked(tmp_path):
    for text in ("first", "second"):
        with atomic_dir(tmp_path / "out", replace=False) as folder:
            (folder / text).touch()
    assert names(tmp_path / "out") == {"first"}
    assert names(tmp_path) == {"out"}


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="not a folder"), atomic_dir(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "precious"
