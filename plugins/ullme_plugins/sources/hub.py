"""Rows from a dataset of the Hugging Face hub, or from a folder that `datasets` can read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from ullme import DataError, DataSource, Example
from ullme_plugins.sources._rows import RowConfig, RowReader


class Hub(DataSource):
    """Any dataset that `datasets` loads: an id of the hub, a folder of data files, or what `save_to_disk` wrote.

    No code that comes with a dataset is run.
    """

    class Config(RowConfig):
        path: str = Field(description="dataset id (org/name) or local folder")
        name: str | None = Field(None, description="configuration of the dataset")
        split: str = Field("train", description="split, slices such as train[:1000] included")
        revision: str | None = Field(None, description="branch, tag or commit on the hub")
        streaming: bool = Field(False, description="read over the network instead of downloading first")

    def examples(self) -> Iterator[Example]:
        """Rows in the order of the dataset."""
        name = f"{self.config.path}[{self.config.split}]"
        reader = RowReader(self.config)
        for number, row in enumerate(self._rows(name), 1):
            yield reader.example(row, f"{name}: row {number}")
        reader.finish(name)

    def _rows(self, name: str) -> Iterator[Any]:
        from datasets.exceptions import DatasetsError

        try:
            yield from self._load()
        except (OSError, ValueError, DatasetsError) as error:
            if isinstance(error, DataError):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"{name}: the dataset cannot be read: {reason}") from error

    def _load(self) -> Any:
        import datasets

        config = self.config
        folder = Path(config.path).expanduser()
        if not _saved_to_disk(folder):
            path = str(folder) if folder.exists() else config.path
            return datasets.load_dataset(
                path, config.name, split=config.split, revision=config.revision, streaming=config.streaming
            )
        saved = datasets.load_from_disk(str(folder))
        if not isinstance(saved, datasets.DatasetDict):
            return saved
        if config.split not in saved:
            raise DataError(f"{config.path}: no split {config.split!r}; it has {', '.join(saved)}")
        return saved[config.split]


def _saved_to_disk(folder: Path) -> bool:
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()
