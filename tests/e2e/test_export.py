"""`ullme export`, `verify`, `merge` and the export step of a run, with a local server and a hub that is none."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from exported import MIXED, distance, st, train
from pipelines import ullme

from ullme import Embedder
from ullme.model.reference import read_reference

TEMPLATE = {"embed": {"default": ["{bos}", "{instruction}: ", "{text}", "{eos}"]}}


@pytest.fixture(scope="module")
def model(tiny_models, tmp_path_factory):
    """A model directory with a trained adapter and a prompt."""
    from ullme import build_embedder
    from ullme.config.load import load_model

    folder = tmp_path_factory.mktemp("trained") / "model"
    section = {"backbone": {"use": "llama", "path": str(tiny_models("llama"))}, "max_tokens": 48}
    section |= {"adapter": {"r": 4}, "prompts": {"query": "find the passage"}, "template": TEMPLATE}
    train(build_embedder(load_model(section))).save(folder)
    return folder


def done(*arguments):
    result = ullme(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*arguments) -> str:
    result = ullme(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The model, exported."""
    target = tmp_path_factory.mktemp("exports") / "st"
    assert "read back and equal" in done("export", model, "--to", "sentence-transformers", "-o", target)
    return target


class TestExport:
    def test_by_any_name_and_beside_the_model(self, model, tmp_path):
        shutil.copytree(model, tmp_path / "model")
        for name, folder in (("st", "st"), ("hf", "hf"), ("ullme", "model")):
            if name == "ullme":
                assert "is there already" in refused("export", tmp_path / "model", "--to", name)
            else:
                done("export", tmp_path / "model", "--to", name)
                assert (tmp_path / folder / "reference_embeddings.json").is_file()

    def test_vectors_and_prompts(self, model, folder):
        mine, theirs = Embedder.from_directory(model), st(folder)
        assert distance(theirs.encode_query(MIXED), mine.encode(MIXED, role="query")) < 1e-5
        assert distance(theirs.encode_document(MIXED), mine.encode(MIXED)) < 1e-5

    def test_an_exporter_from_elsewhere(self, model, tmp_path):
        """A format that nothing here reads back is written, and that it was not compared is said."""
        (tmp_path / "counting.py").write_text(
            "from ullme import Exporter\n\n\nclass Count(Exporter):\n    '''Counts weights.'''\n\n"
            "    def export(self, embedder, out_dir, context):\n"
            "        total = sum(p.numel() for p in embedder.loaded.model.parameters())\n"
            "        (out_dir / 'count.txt').write_text(f'{total} {context.reference.dtype}')\n"
        )
        import sys

        sys.path.insert(0, str(tmp_path))
        try:
            said = done(
                "--plugin", "exporter:count=counting:Count", "export", model, "--to", "count", "-o", tmp_path / "c"
            )
        finally:
            sys.path.remove(str(tmp_path))
        assert "nothing here reads this format back" in said
        assert (tmp_path / "c" / "count.txt").read_text().endswith(" float32")

    def test_bad_input(self, model, tmp_path):
        assert "no exporter named 'sentence-transformer'" in refused("export", model, "--to", "sentence-transformer")
        assert "no ullme.yaml there" in refused("export", tmp_path, "--to", "hf", "-o", tmp_path / "x")
        assert "expected ORG/NAME" in refused("export", model, "--to", "hf", "--push", "name")
        assert "no ullme.yaml there" in refused("export", model, "--to", "hf", "-o", tmp_path / "x", "--run", tmp_path)
        assert "does not exist" in refused("export", model, "--to", "hf", "-o", tmp_path / "no" / "x")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes").write_text("mine")
        assert "is there already" in refused("export", model, "--to", "hf", "-o", tmp_path / "full")
        assert not (tmp_path / "x").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["full"]

    def test_a_refusal_leaves_nothing(self, tiny_models, tmp_path):
        from ullme import build_embedder
        from ullme.config.load import load_model

        backbone = {"use": "llama", "path": str(tiny_models("llama"))}
        build_embedder(load_model({"backbone": backbone, "attention": "prefix"})).save(tmp_path / "model")
        message = refused("export", tmp_path / "model", "--to", "sentence-transformers")
        assert "attention 'prefix': a config can say bidirectional or causal" in message
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


class TestPush:
    @pytest.fixture
    def hub(self, monkeypatch):
        """The hub's API with nothing behind it; what it was asked."""
        import huggingface_hub

        calls = []

        class Api:
            def create_repo(self, repo_id, **options):
                calls.append(("create", repo_id, options))

            def upload_folder(self, *, repo_id, folder_path, **options):
                files = {p.relative_to(folder_path).as_posix(): p for p in folder_path.rglob("*") if p.is_file()}
                calls.append(("upload", repo_id, options, files, (folder_path / "README.md").read_text()))
                return SimpleNamespace(commit_url=f"https://hub.invalid/{repo_id}/commit/1")

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        return calls

    def test_one_commit_with_a_card(self, model, tmp_path, hub):
        from huggingface_hub import ModelCard

        out = tmp_path / "st"
        said = done("export", model, "--to", "st", "-o", out, "--push", "org/name", "--private")
        assert "https://hub.invalid/org/name/commit/1" in said
        (_, repo, made), (_, uploaded, commit, files, text) = hub
        assert repo == uploaded == "org/name"
        assert made == {"repo_type": "model", "private": True, "exist_ok": True}
        assert commit["commit_message"].startswith("Exported by ullme")
        assert {
            "model.safetensors",
            "modules.json",
            "1_Pooling/config.json",
            "reference_embeddings.json",
        } <= files.keys()
        card = ModelCard(text)
        assert card.data.library_name == "sentence-transformers"
        assert {"sentence-transformers", "feature-extraction", "ullme"} <= set(card.data.tags)
        assert card.data.pipeline_tag == "sentence-similarity"
        assert 'SentenceTransformer("org/name")' in text

    def test_a_hub_that_says_no(self, model, tmp_path, monkeypatch):
        from huggingface_hub.errors import OfflineModeIsEnabled

        def no(*args, **options):
            raise OfflineModeIsEnabled("offline mode is enabled")

        monkeypatch.setattr("huggingface_hub.HfApi.create_repo", no)
        message = refused("export", model, "--to", "st", "-o", tmp_path / "st", "--push", "org/name")
        assert "--push org/name: offline mode is enabled" in message
        assert "`hf auth login` logs in. The export itself is whole" in message
        assert (tmp_path / "st" / "modules.json").is_file()


class TestVerify:
    def test_every_format_is_read_by_what_reads_it(self, model, folder, tmp_path):
        done("export", model, "--to", "hf", "-o", tmp_path / "hf")
        for place, reader in ((model, "ullme"), (folder, "sentence-transformers"), (tmp_path / "hf", "hf")):
            said = done("verify", place)
            assert f"read by {reader}" in said
            assert said.count("  ok ") == 3
            assert "query: cosine 1.0000000" in said
        assert "read by sentence-transformers" in done("verify", folder, "--backend", "sentence-transformers")
        assert done("verify", folder, "--against", model).count("  ok ") == 3

    def test_a_changed_copy_is_told_role_by_role_and_exits_1(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "other")
        settings = json.loads((tmp_path / "other" / "config_sentence_transformers.json").read_text())
        settings["prompts"]["query"] = "another prompt: "
        (tmp_path / "other" / "config_sentence_transformers.json").write_text(json.dumps(settings))
        result = ullme("verify", tmp_path / "other")
        assert result.returncode == 1
        assert "  OFF  query: cosine 0." in result.stdout
        assert "  ok   document" in result.stdout
        assert "not the same model: query" in result.stdout
        settings["prompts"]["query"] = "find the passage: "
        (tmp_path / "other" / "config_sentence_transformers.json").write_text(json.dumps(settings))
        config = json.loads((tmp_path / "other" / "config.json").read_text())
        for flag in ("is_causal", "use_bidirectional_attention"):
            del config[flag]
        (tmp_path / "other" / "config.json").write_text(json.dumps(config))
        result = ullme("verify", tmp_path / "other")
        assert (result.returncode, result.stdout.count("  OFF  ")) == (1, 3)
        assert ullme("verify", tmp_path / "other", "--min-cosine", "-1").returncode == 0

    def test_without_sentence_transformers_it_is_read_by_transformers_alone(self, folder, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        assert done("verify", folder).count("  ok ") == 3

    def test_bad_input(self, model, folder, tmp_path):
        assert "no reference_embeddings.json there" in refused("verify", tmp_path)
        assert "give the folder with --against DIR" in refused("verify", "http://127.0.0.1:1")
        assert "asks a server: give its URL" in refused("verify", folder, "--backend", "tei")
        assert "exporter 'hf' does not read this format" in refused("verify", folder, "--backend", "hf")
        assert "no exporter named 'nothing'" in refused("verify", folder, "--backend", "nothing")
        (tmp_path / "reference_embeddings.json").write_text('{"format": 1}')
        assert "damaged" in refused("verify", tmp_path)
        (tmp_path / "reference_embeddings.json").write_text('{"format": 99}')
        assert "format 99; this version reads 1" in refused("verify", tmp_path)
        shutil.copyfile(folder / "reference_embeddings.json", tmp_path / "reference_embeddings.json")
        assert "no exporter here reads this format" in refused("verify", tmp_path)
        message = refused("verify", "http://127.0.0.1:1", "--against", model)
        assert "does not say how its texts are sent" in message

    def test_weights_that_are_missing(self, model, tmp_path):
        from safetensors.torch import load_file, save_file

        done("export", model, "--to", "hf", "-o", tmp_path / "hf")
        weights = load_file(tmp_path / "hf" / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, tmp_path / "hf" / "model.safetensors", metadata={"format": "pt"})
        assert "1 weights are missing (such as layers.1.mlp.up_proj.weight)" in refused("verify", tmp_path / "hf")


@pytest.fixture
def served(folder):
    """A function starting a server that speaks a protocol and computes with stock sentence-transformers."""
    model, servers = st(folder), []

    def start(protocol: str, *, key: str | None = None, spoil: float = 0.0, models: bool = True):
        class Handler(BaseHTTPRequestHandler):
            asked: list = []  # noqa: RUF012

            def answer(self, code, content):
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/v1/models" and models:
                    return self.answer(200, {"data": [{"id": "the-model"}]})
                return self.answer(404, {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                Handler.asked.append((self.path, body))
                if key and self.headers.get("Authorization") != f"Bearer {key}":
                    return self.answer(401, {"error": "no key"})
                if (self.path, protocol) not in {("/v1/embeddings", "openai"), ("/embed", "tei")}:
                    return self.answer(404, {})
                texts = body["input"] if protocol == "openai" else body["inputs"]
                vectors = model.encode(texts, prompt="") + spoil
                if protocol == "tei":
                    return self.answer(200, vectors.tolist())
                rows = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors.tolist())]
                return self.answer(200, {"data": rows[::-1]})

            def log_message(self, *args):
                """Silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", Handler.asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestServed:
    @pytest.mark.parametrize("protocol", ["openai", "tei"])
    def test_both_protocols_are_found_and_asked_with_the_prompt(self, served, folder, protocol):
        url, asked = served(protocol)
        said = done("verify", url, "--against", folder)
        assert said.count("  ok ") == 3
        bodies = [body for _, body in asked if len(body.get("input", body.get("inputs"))) > 1]
        sent = bodies[1]["input" if protocol == "openai" else "inputs"]
        assert sent[0] == "find the passage: Hello"
        if protocol == "openai":
            assert bodies[0]["model"] == "the-model"
        else:
            assert bodies[0]["normalize"] is True
        endpoint = url + {"openai": "/v1/embeddings", "tei": "/embed"}[protocol]
        assert done("verify", endpoint, "--against", folder).count("  ok ") == 3

    def test_a_server_that_is_off(self, served, folder):
        url, _ = served("openai", spoil=0.1)
        result = ullme("verify", url, "--against", folder)
        assert (result.returncode, result.stdout.count("  OFF  ")) == (1, 3)

    def test_a_key_and_servers_that_do_not_answer(self, served, folder, monkeypatch, tmp_path):
        url, _ = served("openai", key="secret", models=False)
        assert "HTTP 401" in refused("verify", url, "--against", folder)
        message = refused("verify", url, "--against", folder, "--key-from", "NO_SUCH_KEY")
        assert "no such environment variable" in message
        monkeypatch.setenv("MY_KEY", "secret")
        assert done("verify", url, "--against", folder, "--key-from", "MY_KEY").count("  ok ") == 3
        nothing, _ = served("nothing")
        assert "found neither /v1/embeddings nor /embed there" in refused("verify", nothing, "--against", folder)
        assert "127.0.0.1:1/" in refused("verify", "http://127.0.0.1:1", "--against", folder)


class TestMerge:
    def test_the_same_vectors_without_an_adapter(self, model, tmp_path):
        assert "read back and equal" in done("merge", model, "-o", tmp_path / "merged")
        assert not (tmp_path / "merged" / "adapter").exists()
        one, two = Embedder.from_directory(model), Embedder.from_directory(tmp_path / "merged")
        assert two.adapter is None
        for role in ("query", "document"):
            assert distance(two.encode(MIXED, role=role), one.encode(MIXED, role=role)) < 1e-5
        assert done("verify", tmp_path / "merged", "--against", model).count("  ok ") == 3

    def test_bad_input(self, model, tmp_path):
        done("merge", model, "-o", tmp_path / "merged")
        assert "this model has no adapter" in refused("merge", tmp_path / "merged", "-o", tmp_path / "again")
        assert "is there already" in refused("merge", model, "-o", tmp_path / "merged")
        assert not (tmp_path / "again").exists()


def test_a_run_exports_and_the_card_says_what_was_trained_and_measured(make, tmp_path):
    def change(content):
        content["export"] = ["ullme", "sentence-transformers"]
        source = dict(content["stages"][0]["data"])
        content["evaluate"] = [{"use": "losses", "source": source, "losses": [{"use": "infonce"}]}]

    file = make(change=change)
    output = tmp_path / "run"
    said = done("run", file, "--no-progress")
    assert f"(ullme verify {output / 'sentence-transformers'})" in said.replace("\n", "")
    assert done("verify", output / "sentence-transformers").count("  ok ") == 3
    assert done("verify", output / "model").count("  ok ") == 3
    for folder in ("model", "sentence-transformers"):
        card = (output / folder / "README.md").read_text()
        assert "`jsonl`" in card
        assert "(40 rows, sha256 `" in card
        assert "infonce (weight 1.0, temperature 0.05" in card
        assert "8 steps of 6 queries, learning rate 0.01" in card
        assert "| held-out | infonce |" in card
        assert (output / folder / "results" / "1-losses.json").is_file()
    reference = read_reference(output / "sentence-transformers")
    assert reference.roles["query"].prompt == ""
    assert read_reference(output / "model").roles["query"].prompt is None
    done("export", output / "model", "--to", "hf")
    assert "learning rate 0.01" in (output / "hf" / "README.md").read_text()


def test_a_run_whose_export_would_be_wrong_fails_and_keeps_what_it_trained(make, tmp_path):
    def change(content):
        content["export"] = ["ullme", "sentence-transformers"]
        content["model"]["attention"] = "prefix"

    result = ullme("run", make(change=change), "--no-progress")
    assert result.returncode == 2
    assert "attention 'prefix'" in result.stderr
    assert (tmp_path / "run" / "model" / "ullme.yaml").is_file()
    assert not (tmp_path / "run" / "sentence-transformers").exists()
