"""Datasets of the hub, here from local folders: what `datasets` reads, we read, without the network."""

import json

import pytest

from ullme import DataError, Example
from ullme_plugins.sources.hub import Hub

ROWS = [{"question": f"q{n}", "answers": {"text": [f"p{n}", f"o{n}"]}, "idx": n} for n in range(3)]
FIELDS = {"query": "question", "positives": "answers.text", "id": "idx"}
EXAMPLES = [Example(f"q{n}", (f"p{n}", f"o{n}"), id=str(n)) for n in range(3)]


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path / "data"


def read(path, **config):
    return list(Hub(Hub.Config(path=str(path), **{"fields": FIELDS, **config})).examples())


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_files(folder, streaming):
    assert read(folder, streaming=streaming) == EXAMPLES


def test_a_slice_of_a_split(folder):
    assert read(folder, split="train[1:]") == EXAMPLES[1:]


def test_a_saved_dataset(tmp_path):
    import datasets

    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": saved}).save_to_disk(tmp_path / "dict")
    assert read(tmp_path / "one") == read(tmp_path / "dict", split="test") == EXAMPLES
    with pytest.raises(DataError, match="no split 'train'; it has test"):
        read(tmp_path / "dict")


def test_a_missing_column_lists_those_that_exist(folder):
    with pytest.raises(DataError) as caught:
        read(folder, fields={"query": "questoin", "positives": "answers.text"})
    assert (
        "data[train]: row 1: expected the field 'questoin' (query), found 'question', 'answers', 'idx'. Did you mean 'q"
        in str(caught.value)
    )


def test_an_unknown_split_is_explained_by_datasets(folder):
    with pytest.raises(DataError, match=r"data\[dev\]: the dataset cannot be read: .*dev"):
        read(folder, split="dev")


def test_an_unknown_dataset(tmp_path):
    with pytest.raises(DataError, match="the dataset cannot be read"):
        read(tmp_path / "nowhere")
