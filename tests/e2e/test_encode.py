"""`ullme encode`: vectors of a model directory from files and pipes, and clear refusals."""

from __future__ import annotations

import errno
import gzip
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pipelines import environment, ullme

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


def test_dtype_devices_and_shards(model, lines, tmp_path):
    from ullme import Embedder

    expected = Embedder.from_directory(model).encode(TEXTS)
    two, _ = encode(model, lines, tmp_path / "two.npy", "--devices", "cpu,cpu", "--shard", 2)
    np.testing.assert_allclose(two, expected, atol=1e-5)
    half, _ = encode(model, lines, tmp_path / "half.npy", "--dtype", "bfloat16")
    assert not np.array_equal(half, expected)
    assert ((half * expected).sum(1) > 0.999).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.npy", "texts.txt", "two.npy"]


@pytest.fixture
def many(tmp_path) -> Path:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    path = tmp_path / "many.txt"
    path.write_text("".join(f"{i} {' '.join(words[: 1 + (i * 7) % 8])}\n" for i in range(3000)))
    return path


class TestContinues:
    """Started again, a run goes on where it was stopped and gives the same bytes."""

    def start(self, model, many, out, *options):
        command = [sys.executable, "-m", "ullme", "encode", model, many, "-o", out, "--shard", 50, *options]
        running = subprocess.Popen(
            list(map(str, command)), env=environment(), text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        parts = out.with_name(out.name + ".parts")
        limit = time.monotonic() + 120
        while not (parts / "vectors-00002.npy").exists():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < limit
            time.sleep(0.005)
        return running, parts

    @pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
    def test_a_run_that_was_stopped(self, model, many, tmp_path, sent):
        out = tmp_path / "v.npy"
        out.write_bytes(b"old")
        running, parts = self.start(model, many, out)
        running.send_signal(sent)
        _, told = running.communicate(timeout=60)
        ready = len(list(parts.glob("vectors-*.npy")))
        assert 2 < ready < 60
        assert out.read_bytes() == b"old"
        if sent == signal.SIGINT:
            assert running.returncode == 130
            assert f"{ready * 50} of 3000 texts are encoded, in {parts}: the same command goes on from there" in told
            assert "Traceback" not in told
        kept = {path: path.stat().st_mtime_ns for path in parts.glob("vectors-*.npy")}
        again = ullme("encode", model, many, "-o", out, "--no-progress")  # the size of its parts is known
        assert again.returncode == 0, again.stderr
        assert f"; {ready * 50} were there before" in again.stdout
        assert len(kept) == ready
        assert not parts.exists()
        fresh = ullme("encode", model, many, "-o", tmp_path / "w.npy", "--shard", 50)
        assert fresh.returncode == 0, fresh.stderr
        assert out.read_bytes() == (tmp_path / "w.npy").read_bytes()
        assert np.load(out).shape == (3000, 64)

    def test_two_at_once_and_other_options_are_refused(self, model, many, tmp_path):
        out = tmp_path / "v.npy"
        running, parts = self.start(model, many, out)
        assert "another process is at work there" in refused(model, many, "-o", out)
        running.kill()
        running.communicate()
        told = refused(model, many, "-o", out, "--role", "query", "--dtype", "bfloat16")
        assert f"{parts} holds vectors of another run" in told
        assert "role: 'document' there, 'query' here" in told
        assert "dtype: 'float32' there, 'bfloat16' here" in told
        assert "--overwrite starts anew" in told
        many.write_text(many.read_text() + "one more\n")
        assert "rows: 3000 there, 3001 here" in refused(model, many, "-o", out)
        (tmp_path / "few.txt").write_text("one\ntwo\n")
        vectors, _ = encode(model, tmp_path / "few.txt", out, "--overwrite")
        assert vectors.shape == (2, 64)

    def test_a_folder_keeps_its_parts(self, model, lines, tmp_path):
        from ullme import Embedder

        folder = tmp_path / "out"
        done = ullme("encode", model, lines, "-o", f"{folder}/", "--shard", 2)
        assert done.stdout.strip() == f"{folder}: 3 x 64 float32"
        assert [np.load(folder / f"vectors-0000{i}.npy").shape for i in (0, 1)] == [(2, 64), (1, 64)]
        about = json.loads((folder / "manifest.json").read_text())
        assert (about["rows"], about["rows_per_file"]) == (3, 2)
        assert about["about"]["model"] == Embedder.from_directory(model).fingerprint()
        again = ullme("encode", model, lines, "-o", folder)
        assert again.stdout.strip() == f"{folder}: 3 x 64 float32; 3 were there before"
        other = tmp_path / "other"
        other.mkdir()
        np.save(other / "mine.npy", np.zeros(3))
        assert "holds .npy files and no manifest.json" in refused(model, lines, "-o", other)
        assert "holds .npy files and no manifest.json" in refused(model, lines, "-o", other, "--overwrite")

    def test_a_full_disk(self, model, many, tmp_path, monkeypatch):
        out, kept = tmp_path / "v.npy", np.save
        calls = []

        def full(file, array):
            calls.append(1)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            kept(file, array)

        monkeypatch.setattr(np, "save", full)
        told = refused(model, many, "-o", out, "--shard", 1000, "--no-progress")
        assert f"cannot write {out}.parts/vectors-00002.npy: No space left on device" in told
        assert f"2000 of 3000 texts are encoded, in {out}.parts: the same command goes on from there" in told
        assert not list(Path(f"{out}.parts").glob(".*.tmp"))
        vectors, done = encode(model, many, out)
        assert "; 2000 were there before" in done.stdout
        assert vectors.shape == (3000, 64)

    def test_no_room_for_the_whole(self, model, many, tmp_path):
        out = tmp_path / "v.npy"
        command = [sys.executable, "-m", "ullme", "encode", model, many, "-o", out, "--shard", 500, "--no-progress"]
        done = subprocess.run(
            list(map(str, command)),
            env=environment(),
            text=True,
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        )
        assert done.returncode == 2, done.stderr
        assert f"cannot write {out}: File too large" in done.stderr
        assert f"3000 of 3000 texts are encoded, in {out}.parts" in done.stderr
        vectors, _ = encode(model, many, out)
        assert vectors.shape == (3000, 64)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_memory_does_not_grow_with_the_file(model, tmp_path):
    """Peak memory of a process for forty times as many lines, each of them long."""
    line = "alpha beta gamma delta " * 250  # cut to 48 tokens: almost all of it is there to be held, or not
    program = (
        "import sys; from pathlib import Path; from ullme.cli import main; assert main(sys.argv[1:]) == 0;"
        "print(next(row for row in Path('/proc/self/status').read_text().splitlines() if row.startswith('VmHWM')))"
    )
    peaks = []
    for count in (200, 8_000):
        with (tmp_path / "t.txt").open("w") as file:
            for i in range(count):
                file.write(f"{line}{i % 7}\n")
        options = ["-o", f"{tmp_path}/v/", "--shard", "200", "--overwrite", "--no-progress"]
        command = [sys.executable, "-c", program, "encode", str(model), str(tmp_path / "t.txt"), *options]
        done = subprocess.run(command, env=environment(), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-2]) / 1024)
    assert (tmp_path / "t.txt").stat().st_size > 45e6
    assert peaks[1] - peaks[0] < 25, peaks


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
