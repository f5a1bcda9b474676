"""A task of the user's own: which data, and how it becomes a task that mteb runs."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ullme import Choice, ComponentConfig, DataError, Slot, load_source
from ullme_plugins.evaluators._files import local_path
from ullme_plugins.evaluators._retrieval import Retrieval, from_examples, from_folder
from ullme_plugins.evaluators._rows import Column, Table, table

# mteb's name, class and main score of each type of task.
_MTEB = {
    "retrieval": ("Retrieval", "AbsTaskRetrieval", "ndcg_at_10"),
    "sts": ("STS", "AbsTaskSTS", "cosine_spearman"),
    "classification": ("Classification", "AbsTaskClassification", "accuracy"),
    "clustering": ("Clustering", "AbsTaskClustering", "v_measure"),
    "bitext": ("BitextMining", "AbsTaskBitextMining", "f1"),
}


class LocalTask(ComponentConfig):
    """Retrieval, similarity, classification, clustering or bitext mining on the user's own data."""

    name: str = Field(pattern=r"^\w[\w.-]*$", description="how the task is called in reports")
    type: Literal["retrieval", "sts", "classification", "clustering", "bitext"]
    path: str | None = Field(None, description="BEIR folder (retrieval), .jsonl file or a folder of them")
    source: Annotated[Choice, Slot("source")] | None = Field(None, description="retrieval from a data source's rows")
    split: str | None = Field(None, description="which split of `path`; default: test, or the only one")
    fields: dict[Column, str] = Field({}, description="the file's name for each of ours")
    queries: int | None = Field(None, gt=0, description="retrieval: this many queries, chosen by hash; default: all")
    corpus: int | None = Field(
        None, gt=0, description="retrieval: the queries' passages and further ones up to this many; default: all"
    )
    seed: int = Field(0, description="of the choice of queries and passages")

    @model_validator(mode="after")
    def _one_origin(self) -> LocalTask:
        if (self.path is None) == (self.source is None):
            raise ValueError("expected either `path` or `source`")
        if self.type != "retrieval" and (self.source or self.queries or self.corpus):
            raise ValueError(f"`source`, `queries` and `corpus` are for retrieval, not for {self.type}")
        if self.type == "retrieval" and self.fields:
            raise ValueError("`fields` is not for retrieval: a BEIR folder has fixed names, a source its own `fields`")
        if self.source and self.split:
            raise ValueError("`split` is for `path`; a source has `part`")
        return self


class LocalData:
    """The data of a local task, read once. Raises DataError for what cannot be used, before any model runs."""

    def __init__(self, config: LocalTask) -> None:
        self.config = config
        self.retrieval: Retrieval | None = None
        self.tables: dict[str, Table] = {}
        if config.type == "retrieval":
            self.retrieval = _retrieval(config)
        else:
            path = local_path(str(config.path))
            self.tables["test"] = table(path, config.type, config.fields, config.split)
            if config.type == "classification":
                self.tables["train"] = table(path, config.type, config.fields, "train")

    @property
    def instructions(self) -> dict[str, str]:
        """Instructions that belong to single queries, by query text."""
        return self.retrieval.instructions if self.retrieval else {}

    def identity(self) -> dict[str, Any]:
        """What the scores depend on besides the model: a hash of the data."""
        content = json.dumps([self.config.type, self.tables, self.retrieval and vars(self.retrieval)], sort_keys=True)
        return {"data": hashlib.sha256(content.encode()).hexdigest()[:16]}

    def task(self) -> Any:
        """A fresh mteb task that holds the data."""
        from mteb import abstasks
        from mteb.abstasks.task_metadata import TaskMetadata

        kind, base, main_score = _MTEB[self.config.type]
        metadata = TaskMetadata(
            name=self.config.name,
            description=f"{self.config.name}, a local task",
            type=kind,
            main_score=main_score,
            eval_splits=["test"],
            eval_langs=["eng-Latn"],  # mteb wants one; no score depends on it
            dataset={"path": self.config.name, "revision": self.identity()["data"]},
        )
        task = type("Local", (getattr(abstasks, base),), {"metadata": metadata})()
        if self.config.type == "clustering":
            # mteb's defaults sample big sets down; a local set is taken whole.
            task.max_fraction_of_documents_to_embed = None
            task.max_documents_per_cluster = min(task.max_documents_per_cluster, len(self.tables["test"]["text"]))
        task.dataset, task.data_loaded = self._dataset(), True
        return task

    def _dataset(self) -> Any:
        from datasets import Dataset, DatasetDict

        if self.retrieval is None:
            return DatasetDict({split: Dataset.from_dict(self._columns(split)) for split in self.tables})
        data = self.retrieval
        titles = [data.titles.get(name, "") for name in data.corpus]
        corpus = {"id": list(data.corpus), "title": titles, "text": list(data.corpus.values())}
        queries = {"id": list(data.queries), "text": list(data.queries.values())}
        split = {
            "corpus": Dataset.from_dict(corpus),
            "queries": Dataset.from_dict(queries),
            "relevant_docs": {name: dict(grades) for name, grades in data.relevant.items()},
            "top_ranked": None,
        }
        return {"default": {"test": split}}

    def _columns(self, split: str) -> Table:
        """The columns of a split under mteb's names, labels numbered alike in all splits."""
        columns = dict(self.tables[split])
        if "label" in columns:
            known = sorted({label for cells in self.tables.values() for label in cells["label"]})
            number = {label: place for place, label in enumerate(known)}
            columns["label"] = [number[label] for label in columns["label"]]
        if self.config.type == "clustering":
            columns = {"sentences": columns["text"], "labels": columns["label"]}
        return columns


def _retrieval(config: LocalTask) -> Retrieval:
    if config.source is None:
        data = from_folder(local_path(str(config.path)), config.split)
    else:
        data = from_examples(f"{config.name} ({config.source.name})", load_source(config.source))
    if not data.queries:
        raise DataError(f"{data.where}: there are no queries")
    return data.sampled(config.queries, config.corpus, config.seed)
