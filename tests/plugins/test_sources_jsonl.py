"""JSON lines: what is read, and what each bad line is told."""

import gzip
import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from ullme import DataError, Example, load_source
from ullme.errors import AssetError
from ullme_plugins.sources.jsonl import JsonLines

SHARED = Path(os.environ.get("ULLME_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def source(path, **config):
    return JsonLines(JsonLines.Config(path=str(path), **config))


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def read(path, **config):
    return list(source(path, **config).examples())


def test_names_of_ours_need_no_map(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        {"query": "q", "positives": ["p", "ü"], "negatives": ["n"], "instruction": "i", "id": 7, "group": "g", "x": 1},
        "  ",
        {"query": "r", "positive": "s", "negative": "t", "group": None},
    )
    assert read(file, instruction="default") == [
        Example("q", ("p", "ü"), ("n",), "i", "7", "g"),
        Example("r", ("s",), ("t",), "default"),
    ]


def test_fields_map_nested_names_and_null_reads_nothing(tmp_path):
    row = {"question": "q", "docs": [{"text": "p"}, {"text": "o"}], "meta": {"a.b": "n"}, "id": "same", "x.y": "i"}
    fields = {"query": "question", "positives": "docs.text", "id": None, "instruction": "x.y"}
    assert read(write(tmp_path / "a.jsonl", row, row), fields=fields) == [Example("q", ("p", "o"), (), "i")] * 2


def test_gzip_is_known_by_its_bytes_and_a_bom_is_skipped(tmp_path):
    row = '{"query": "q", "positives": "p"}\n'
    (tmp_path / "misnamed.jsonl").write_bytes(gzip.compress(row.encode()))
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode())
    assert read(tmp_path / "misnamed.jsonl") == read(tmp_path / "bom.jsonl") == [Example("q", ("p",))]


def test_a_pattern_reads_files_in_order(tmp_path):
    for name in "cab":
        write(tmp_path / f"{name}.jsonl", {"query": name, "positives": "p"})
    assert [row.query for row in read(tmp_path / "*.jsonl")] == ["a", "b", "c"]
    with pytest.raises(DataError, match="no file matches"):
        read(tmp_path / "*.json")
    with pytest.raises(ValidationError, match="sha256 pins one file"):
        source(tmp_path / "*.jsonl", sha256="0" * 64)


GOOD = {"query": "q", "positives": ["p"]}
BAD_LINES = {
    "malformed": ('{"query": "q",}', ":2:15: expected one JSON object on this line, found malformed JSON"),
    "over several lines": ("[", "write each object on one line"),
    "too deep": ("[" * 100_000, ":2: expected one JSON object on this line, found malformed JSON: nested too deeply"),
    "array": ("[1]", ":2: expected an object with a query and positives, found a list"),
    "typo": ({"qurey": "q", "positives": "p"}, ":2: expected the field 'query' (query), found 'qurey', 'positives'."),
    "typo hint": (
        {"qurey": "q", "positives": "p"},
        "Did you mean 'qurey'?\n  Say which field it is:  fields: {query: qurey}",
    ),
    "no positives": ({"query": "q", "positives": []}, ":2: 'positives' (positives): expected text, found []"),
    "null": ({"query": None, "positives": "p"}, ":2: 'query' (query): expected text, found None"),
    "number": ({"query": 3, "positives": "p"}, ":2: 'query': expected text, found a number 3"),
    "list as query": ({"query": ["q"], "positives": "p"}, ":2: 'query': expected text, found a list ['q']"),
    "mixed list": (
        {"query": "q", "positives": ["p", {}]},
        "'positives': expected text or a list of texts, found an object",
    ),
    "blank": ({"query": "q", "positives": " \n"}, ":2: 'positives': expected text, found an empty one"),
    "blank negative": ({**GOOD, "negatives": [""]}, ":2: 'negatives': expected text, found an empty one"),
    "both": ({**GOOD, "negatives": ["p"]}, ":2: a passage is both positive and negative: 'p'"),
    "boolean id": ({**GOOD, "id": True}, ":2: 'id': expected text or a whole number, found a boolean True"),
    "surrogate": ('{"query": "\\ud800", "positives": "p"}', ":2: 'query': expected Unicode text, found half"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named(tmp_path, line, message):
    file = write(tmp_path / "a.jsonl", GOOD, line)
    with pytest.raises(DataError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}:2")
    assert message in str(caught.value)


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\n{"query": "caf\xe9", "positives": "p"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: expected UTF-8, found byte 0xe9 at byte 15 of the line"):
        read(tmp_path / "a.jsonl")


def test_a_mapped_field_may_be_absent_from_a_row_but_not_from_all(tmp_path):
    file = write(tmp_path / "a.jsonl", GOOD, {**GOOD, "hard": ["n"]})
    assert [row.negatives for row in read(file, fields={"negatives": "hard"})] == [(), ("n",)]
    with pytest.raises(DataError, match="no row has 'hrad', named in `fields:`"):
        read(file, fields={"negatives": "hrad"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "empty.jsonl: expected one JSON object per line, found an empty file"),
        ("blank.jsonl", b"\n \n", "found an empty file"),
        ("cut.jsonl.gz", gzip.compress(b'{"query": "q", "positives": "p"}\n' * 9)[:-9], "damaged one"),
        ("flipped.gz", gzip.compress(b"{}")[:12] + b"\xff" * 9, "damaged one"),
    ],
)
def test_an_unusable_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)


def test_a_path_that_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"found a folder; for its files write folder/\*\.jsonl"):
        read("folder")
    with pytest.raises(DataError, match="use: hub, path: org/name"):
        read("org/name")
    with pytest.raises(AssetError, match="no such file"):
        read("missing.jsonl")


def test_an_unknown_field_of_ours_is_refused():
    with pytest.raises(ValidationError, match="fields"):
        JsonLines.Config(path="a.jsonl", fields={"question": "query"})


@pytest.mark.skipif(not SHARED.is_dir(), reason="no example data here (set ULLME_TEST_DATA)")
def test_real_files_load_with_their_negatives():
    rows = load_source(source(SHARED / "nli" / "snli.en.dev.triplets.jsonl.gz", part="train", heldout=0.2))
    assert all(row.negatives for row in rows)
    assert 0.7 * 2943 < len(rows) < 0.9 * 2943
