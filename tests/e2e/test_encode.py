"""`ullme encode`: vectors of a model directory from files and pipes, and clear refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pipelines import ullme

TEXTS = ["alpha beta", "a longer line about gamma, delta and epsilon", "x"]


@pytest.fixture(scope="module")
def model(tiny_models, tmp_path_factory) -> Path:
    from ullme import build_embedder
    from ullme.config.load import load_model

    folder = tmp_path_factory.mktemp("saved") / "model"
    section = {
        "backbone": {"use": "llama", "path": str(tiny_models("llama"))},
        "prompts": {"query": "find the passage"},
    }
    build_embedder(load_model({**section, "max_tokens": 48})).save(folder)
    return folder


@pytest.fixture
def lines(tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def encode(model, file, out, *options, **more):
    done = ullme("encode", model, file, "-o", out, *options, **more)
    assert done.returncode == 0, done.stderr
    return np.load(out), done


def refused(*arguments, **more) -> str:
    done = ullme("encode", *arguments, **more)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_text_jsonl_gz_and_pipe_give_what_the_library_gives(model, lines, tmp_path):
    from ullme import Embedder

    expected = Embedder.from_directory(model).encode(TEXTS)
    rows = "".join(json.dumps({"passage": text, "n": 1}) + "\n" for text in TEXTS)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    found, done = encode(model, lines, tmp_path / "a.npy")
    assert done.stdout.strip() == f"{tmp_path / 'a.npy'}: 3 x 64 float32"
    assert "encoding" in done.stderr
    piped, _ = encode(model, "-", tmp_path / "b.npy", "--field", "passage", stdin=rows)
    zipped, _ = encode(model, tmp_path / "rows.jsonl.gz", tmp_path / "c.npy", "--field", "passage", "--no-progress")
    for vectors in (found, piped, zipped):
        assert vectors.dtype == np.float32
        assert np.array_equal(vectors, expected)


def test_role_and_instruction_choose_the_prompt(model, lines, tmp_path):
    document, _ = encode(model, lines, tmp_path / "d.npy")
    query, _ = encode(model, lines, tmp_path / "q.npy", "--role", "query")
    explicit, _ = encode(model, lines, tmp_path / "e.npy", "--instruction", "find the passage")
    none, _ = encode(model, lines, tmp_path / "n.npy", "--role", "query", "--instruction", "")
    assert np.array_equal(query, explicit)
    assert np.array_equal(document, none)
    assert not np.allclose(query, document)


def test_texts_that_are_too_long_are_cut_and_counted(model, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("short\n" + "word " * 200 + "\n")
    _, done = encode(model, long, tmp_path / "v.npy")
    assert "; 1 text was cut to 48 tokens" in done.stdout


class TestRefused:
    def test_a_misspelt_role_and_a_device_that_is_not_there(self, model, lines, tmp_path):
        message = refused(model, lines, "-o", tmp_path / "v.npy", "--role", "querry")
        assert "no such role. Did you mean 'query'?" in message
        assert "device 'gpu'" in refused(model, lines, "-o", tmp_path / "v.npy", "--device", "gpu")

    def test_the_folder_of_a_run_instead_of_its_model(self, model, lines, tmp_path):
        import shutil

        shutil.copytree(model, tmp_path / "run" / "model")
        (tmp_path / "run" / "ullme.yaml").write_text((model / "ullme.yaml").read_text())
        message = refused(tmp_path / "run", lines, "-o", tmp_path / "v.npy")
        assert f"the model of this run is in {tmp_path / 'run' / 'model'}" in message

    def test_an_empty_line(self, model, tmp_path):
        (tmp_path / "t.txt").write_text("one\n\nthree\n")
        assert f"{tmp_path / 't.txt'}:2: expected a text" in refused(
            model, tmp_path / "t.txt", "-o", tmp_path / "v.npy"
        )

    def test_a_malformed_line_of_json(self, model, tmp_path):
        (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": \n')
        assert f"{tmp_path / 't.jsonl'}:2: expected a JSON object" in refused(
            model, tmp_path / "t.jsonl", "-o", tmp_path / "v.npy"
        )

    def test_a_missing_field_with_the_nearest(self, model, tmp_path):
        (tmp_path / "t.jsonl").write_text('{"texts": "a"}\n')
        assert "did you mean --field texts?" in refused(model, tmp_path / "t.jsonl", "-o", tmp_path / "v.npy")

    def test_bytes_that_are_not_utf8(self, model, tmp_path):
        (tmp_path / "t.txt").write_bytes(b"fine\nbad \xff\n")
        assert "t.txt:2: expected UTF-8, found byte 0xff" in refused(
            model, tmp_path / "t.txt", "-o", tmp_path / "v.npy"
        )

    def test_a_missing_file_an_empty_one_and_no_model(self, model, lines, tmp_path):
        (tmp_path / "empty.txt").write_text("")
        assert "No such file" in refused(model, tmp_path / "none.txt", "-o", tmp_path / "v.npy")
        assert "no text in it" in refused(model, tmp_path / "empty.txt", "-o", tmp_path / "v.npy")
        assert "no ullme.yaml there" in refused(tmp_path, lines, "-o", tmp_path / "v.npy")

    def test_an_output_that_cannot_be_written_leaves_the_old_one(self, model, lines, tmp_path):
        old = tmp_path / "v.npy"
        old.write_bytes(b"old")
        assert "ending in .npy" in refused(model, lines, "-o", tmp_path / "v.txt")
        assert "does not exist" in refused(model, lines, "-o", tmp_path / "no" / "v.npy")
        (tmp_path / "bad.txt").write_text("one\n\n")
        refused(model, tmp_path / "bad.txt", "-o", old)
        assert old.read_bytes() == b"old"

    def test_code_that_came_with_the_weights_is_never_run(self, model, lines, tmp_path):
        """A directory from elsewhere asks for its own code in ullme.yaml and in its config: neither is heard."""
        import shutil

        folder = tmp_path / "evil"
        shutil.copytree(model, folder)
        text = (folder / "ullme.yaml").read_text().replace("trust_remote_code: false", "trust_remote_code: true")
        (folder / "ullme.yaml").write_text(text)
        config = json.loads((folder / "backbone" / "config.json").read_text())
        config |= {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"}
        (folder / "backbone" / "config.json").write_text(json.dumps(config))
        (folder / "backbone" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        refused(folder, lines, "-o", tmp_path / "v.npy")
        assert not (tmp_path / "ran").exists()
