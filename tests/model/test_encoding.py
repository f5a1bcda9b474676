"""Encoding fast gives what one call a text gives: order, duplicates, windows, devices, dtype, compiled layers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from ullme import ConfigError, DataError
from ullme.model import encoding, native
from ullme.model.compiling import compiled, using
from ullme.model.encoding import Request, stream
from ullme.model.replicas import cast, replicate
from ullme.model.windows import ahead, windows
from ullme.model.workers import Workers

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
TEXTS = [" ".join(WORDS[(i * 5 + j) % 12] for j in range(1 + (i * 7) % 11)) for i in range(40)]
TEXTS += [TEXTS[3], TEXTS[17], TEXTS[3]]  # duplicates


@pytest.fixture
def embedder(build):
    return build("llama", prompts={"query": "find it"})


def alone(embedder, texts=TEXTS, role="document"):
    """One model call a text, as the stock modules compute it: nothing of what is tested here."""
    from ullme.model.embedder import VectorCall

    embedder.eval()
    with torch.no_grad():
        tokens = [embedder.template.embed([text], role, embedder.prompt(role)) for text in texts]
        return np.concatenate([embedder(VectorCall(one)).numpy() for one in tokens])


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


@pytest.fixture
def calls(embedder):
    """The number of texts of every model call."""
    seen: list[int] = []
    embedder.register_forward_pre_hook(lambda module, args: seen.append(len(args[0].texts)))
    return seen


class TestEquality:
    @pytest.mark.parametrize("role", ["document", "query"])
    @pytest.mark.parametrize("batch_tokens", [None, 1, 40, 4096])
    def test_any_budget(self, embedder, role, batch_tokens):
        close(embedder.encode(TEXTS, role=role, batch_tokens=batch_tokens), alone(embedder, role=role))

    @pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_neox", "bert"])
    def test_any_family_on_two_workers(self, build, family):
        embedder = build(family)
        close(embedder.encode(TEXTS, devices=["cpu", "cpu"], batch_tokens=64), alone(embedder))

    def test_small_windows(self, embedder, monkeypatch):
        monkeypatch.setattr(encoding, "WINDOW", 7)
        close(embedder.encode(TEXTS), alone(embedder))

    def test_a_stream_keeps_the_order(self, embedder):
        told: list[int] = []
        parts = list(stream(Workers(embedder), iter(TEXTS), Request(), told.append, size=9))
        assert [len(part) for part in parts] == [9, 9, 9, 9, 7]
        assert sum(told) == len(TEXTS)
        close(np.concatenate(parts), alone(embedder))

    def test_a_stream_begun_later_gives_the_same_bits(self, embedder):
        workers = Workers(embedder)
        whole = list(stream(workers, TEXTS, Request(), size=10))
        rest = list(stream(workers, TEXTS[20:], Request(), start=20, size=10))
        assert all(np.array_equal(a, b) for a, b in zip(whole[2:], rest, strict=True))

    def test_with_an_adapter_per_role(self, build):
        adapter = {"tasks": ["one", "two"], "route": {"query": "two"}}
        embedder = build("llama", adapter=adapter)
        with torch.no_grad():
            for name, parameter in embedder.named_parameters():
                if ".lora_B" in name:
                    parameter.normal_(0, 0.3)
        trains = {name: parameter.requires_grad for name, parameter in embedder.named_parameters()}
        for devices in (None, ["cpu", "cpu"]):
            one, two = (embedder.encode(TEXTS, role=role, devices=devices) for role in ("document", "query"))
            assert not np.allclose(one, two, atol=1e-2)
            with embedder.routed("one"):
                close(one, alone(embedder))
        assert trains == {name: parameter.requires_grad for name, parameter in embedder.named_parameters()}

    def test_dropout_is_off_and_training_goes_on_afterwards(self, build):
        embedder = build("llama", adapter={"dropout": 0.5}).train()
        assert np.array_equal(embedder.encode(TEXTS), embedder.encode(TEXTS))
        assert embedder.training
        assert next(iter(embedder.trainable().values())).requires_grad

    def test_no_text(self, embedder):
        assert embedder.encode([]).shape == (0, 64)
        assert list(stream(Workers(embedder), [], Request())) == []


class TestDuplicates:
    def test_equal_texts_are_encoded_once(self, embedder, calls):
        told: list[int] = []
        vectors = embedder.encode(TEXTS * 5, on_progress=told.append)
        assert sum(calls) == len(set(TEXTS))
        assert sum(told) == len(TEXTS) * 5
        assert np.array_equal(vectors, np.concatenate([vectors[: len(TEXTS)]] * 5))

    def test_over_windows_too(self, embedder, calls, monkeypatch):
        monkeypatch.setattr(encoding, "WINDOW", 10)
        told: list[int] = []
        embedder.encode(TEXTS * 2, on_progress=told.append)
        assert sum(calls) == len(set(TEXTS))
        assert sum(told) == len(TEXTS) * 2

    def test_texts_that_are_cut_to_the_same_tokens(self, embedder, calls):
        long = "alpha " * 200
        a, b = embedder.encode([long + "one", long + "two"])
        assert calls == [1]
        assert np.array_equal(a, b)
        assert embedder.template.truncated == 2

    def test_one_text_in_two_roles_is_not_one(self, embedder):
        assert not np.allclose(embedder.encode(TEXTS[:1]), embedder.encode(TEXTS[:1], role="query"), atol=1e-3)

    def test_cut_texts_are_counted_with_their_duplicates_under_threads(self, embedder):
        long = ["alpha " * 200] * 30 + ["short"] * 10
        threads = [threading.Thread(target=embedder.encode, args=(long,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (embedder.template.seen, embedder.template.truncated) == (160, 120)


class TestErrors:
    def test_an_empty_text_has_its_number(self, embedder):
        with pytest.raises(DataError, match=r"text 2 is empty"):
            embedder.encode(["a", "b", " "])
        with pytest.raises(DataError, match=r"text 7 is empty"):
            list(stream(Workers(embedder), ["a", "b", " "], Request(), start=5, size=2))

    def test_a_text_that_the_template_refuses_has_its_number(self, build):
        template = {"embed": {"default": [{"text": "{text}", "truncate": "never"}]}}
        with pytest.raises(DataError, match=r"text 1: a text of \d+ tokens exceeds 8"):
            build("llama", template=template, max_tokens=8).encode(["fine", "alpha beta " * 20, "fine"])

    @pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]])
    def test_what_a_worker_raises_comes_out_and_no_thread_stays(self, embedder, devices):
        before = threading.active_count()

        def broken(module, args):
            raise IndexError("broken inside")

        handle = embedder.register_forward_pre_hook(broken)
        with pytest.raises(IndexError, match="broken inside"):
            embedder.encode(TEXTS, devices=devices)
        handle.remove()
        assert threading.active_count() == before
        close(embedder.encode(TEXTS, devices=devices), alone(embedder))

    def test_what_the_texts_raise_comes_out(self, embedder):
        def texts():
            yield from TEXTS[:3]
            raise OSError("the file is gone")

        parts = stream(Workers(embedder), texts(), Request(), size=2)
        assert len(next(parts)) == 2
        with pytest.raises(OSError, match="the file is gone"):
            list(parts)

    def test_devices_and_dtypes_that_are_none(self, embedder):
        with pytest.raises(ConfigError, match="device 'gpu'"):
            embedder.encode(TEXTS, devices=["gpu"])
        with pytest.raises(ConfigError, match="at least one"):
            embedder.encode(TEXTS, devices=[])
        with pytest.raises(ConfigError, match="dtype 'half': expected one of auto"):
            embedder.encode(TEXTS, dtype="half")
        if not torch.cuda.is_available():
            with pytest.raises(ConfigError, match="device 'cuda:3'"):
                embedder.encode(TEXTS, devices=["cuda:3"])


class TestAhead:
    def test_it_waits_for_its_reader(self):
        made: list[int] = []
        reader = ahead(made.append(i) or i for i in range(100))
        assert next(reader) == 0
        reader.close()
        assert len(made) <= 3

    def test_a_window_holds_only_its_texts(self, embedder):
        taken: list[int] = []
        source = (taken.append(i) or text for i, text in enumerate(TEXTS))
        found = windows(source, lambda texts: embedder.template.embed(texts, "document"), 512, size=10)
        next(found)
        assert len(taken) == 10


class TestPrecision:
    def test_a_cast_copy_is_the_model_loaded_in_that_dtype(self, build):
        loaded, made = build("gemma3", backbone={"dtype": "bfloat16"}), build("gemma3")
        before = made.fingerprint()
        assert np.array_equal(made.encode(TEXTS, dtype="bfloat16"), loaded.encode(TEXTS))
        assert made.fingerprint() == before
        cast(made, torch.bfloat16)
        assert np.array_equal(made.encode(TEXTS), loaded.encode(TEXTS))
        assert {b.dtype for n, b in made.loaded.model.named_buffers() if "inv_freq" in n} == {torch.float32}

    def test_adapters_stay_fp32(self, build):
        adapter = {"r": 4}
        loaded, made = build("llama", adapter=adapter, backbone={"dtype": "bfloat16"}), build("llama", adapter=adapter)
        for embedder in (loaded, made):
            with torch.no_grad():
                torch.manual_seed(0)
                for name, parameter in embedder.named_parameters():
                    if ".lora_B" in name:
                        parameter.normal_(0, 0.3)
        assert np.array_equal(made.encode(TEXTS, dtype="bfloat16"), loaded.encode(TEXTS))
        copied = replicate(made, made.device, torch.bfloat16)
        assert {p.dtype for n, p in copied.named_parameters() if ".lora_" in n} == {torch.float32}

    def test_bfloat16_is_near_float32(self, embedder):
        a, b = embedder.encode(TEXTS), embedder.encode(TEXTS, dtype="bfloat16")
        assert ((a * b).sum(1) > 0.999).all()

    @pytest.mark.parametrize(
        ("found", "wanted"), [({"avx512_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32")]
    )
    def test_auto_takes_bfloat16_only_where_it_is_native(self, monkeypatch, found, wanted):
        monkeypatch.setattr(native, "capabilities", lambda: found)
        assert native.dtype_for("auto", torch.device("cpu")) == getattr(torch, wanted)

    def test_a_copy_that_shares_state_with_its_original_is_refused(self, embedder):
        """A closure survives a deep copy; this one turns the vectors of whoever calls it second around."""
        pooler, signs = embedder.pooler, iter([1.0, -1.0])
        embedder.pooler = lambda states, mask: pooler(states, mask) * next(signs)
        with pytest.raises(ConfigError, match=r"its copy on cpu gives other vectors \(cosine -1.000\)"):
            replicate(embedder, embedder.device, torch.bfloat16)


class TestThreads:
    @pytest.fixture(autouse=True)
    def threads(self, embedder):  # building one sets a single thread
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(1)

    def test_a_cpu_has_a_worker_for_each_of_torchs_threads(self, embedder):
        at_work: set[int] = set()
        inside: list[int] = []
        both = threading.Barrier(2, timeout=30)  # broken, and the test with it, unless two calls run at once

        def note(module, args):
            if threading.get_ident() not in at_work:
                at_work.add(threading.get_ident())
                both.wait()
            inside.append(torch.get_num_threads())

        handle = embedder.register_forward_pre_hook(note)
        vectors = embedder.encode(TEXTS, batch_tokens=64)
        handle.remove()
        assert len(at_work) == 2
        assert threading.get_ident() not in at_work
        assert set(inside) == {1}
        assert torch.get_num_threads() == 2
        close(vectors, alone(embedder))

    def test_one_batch_has_all_threads(self, embedder):
        inside: list[tuple[int, int]] = []
        embedder.register_forward_pre_hook(
            lambda module, args: inside.append((threading.get_ident(), torch.get_num_threads()))
        )
        embedder.encode(TEXTS[:2])
        assert inside == [(threading.get_ident(), 2)]

    def test_the_callers_autocast_holds_in_every_thread(self, embedder):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = embedder.encode(TEXTS, batch_tokens=64)
        assert not np.allclose(found, embedder.encode(TEXTS), atol=1e-6)
        assert ((found * alone(embedder)).sum(1) > 0.999).all()

    @pytest.mark.parametrize("kind", ["dynamic", "longrope"])
    def test_a_model_that_changes_while_it_runs_is_not_shared(self, embedder, kind):
        embedder.loaded.body.rotary_emb.rope_type = kind
        assert len(Workers(embedder).embedders) == 1
        with pytest.raises(ConfigError, match="rotary frequencies"):
            Workers(embedder, devices=["cpu", "cpu"])


class TestProducts:
    """oneDNN for float32 products, wherever it is chosen, gives what torch gives."""

    @pytest.mark.parametrize("family", ["llama", "bert", "gpt_neox"])
    def test_encode(self, build, family, monkeypatch):
        embedder, used = build(family), []
        expected = alone(embedder)
        kept = native._linear
        monkeypatch.setattr(native, "onednn_is_faster", lambda: True)
        monkeypatch.setattr(native, "_linear", lambda *args: used.append(1) or kept(*args))
        close(embedder.encode(TEXTS), expected)
        assert used

    def test_only_inside_only_float32(self, monkeypatch):
        x, weight, bias = torch.randn(2, 3, 8), torch.randn(5, 8), torch.randn(5)
        linear = torch.nn.functional.linear
        with torch.no_grad(), native.OneDNN():
            close(linear(x, weight, bias).numpy(), (x @ weight.T + bias).numpy())
            close(linear(x, weight=weight).numpy(), (x @ weight.T).numpy())
            assert linear(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert linear(x, weight).dtype == torch.bfloat16
        assert linear(x, weight.requires_grad_()).requires_grad

    def test_the_processor_decides(self, monkeypatch):
        for found, wanted in (
            ({"cpu_name": "AMD EPYC", "avx512_f": True}, True),
            ({"cpu_name": "AMD EPYC", "avx512_f": False}, False),
            ({"cpu_name": "Intel(R) Xeon(R)", "avx512_f": True}, False),
            ({}, False),
        ):
            monkeypatch.setattr(native, "capabilities", lambda found=found: found)
            assert native.onednn_is_faster() is wanted


@pytest.mark.slow
class TestCompiled:
    @pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_neox"])
    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    def test_the_same_vectors_and_no_trace_afterwards(self, build, family, implementation):
        embedder = build(family, backbone={"attn_implementation": implementation})
        expected = alone(embedder)
        close(embedder.encode(TEXTS, compile=True, batch_tokens=100), expected)
        close(embedder.encode(TEXTS, compile=True, devices=["cpu", "cpu"], batch_tokens=100), expected)
        assert all("forward" not in block.__dict__ for block in embedder.loaded.blocks)
        close(embedder.encode(TEXTS), expected)

    def test_no_graph_breaks_and_one_graph_for_all_layers(self, build):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        embedder = build("llama")
        blocks = embedder.loaded.blocks
        forwards = [torch.compile(block.forward, dynamic=True, fullgraph=True) for block in blocks]
        with using(blocks, forwards):
            close(embedder.encode(TEXTS), alone(build("llama")))
        counted = torch._dynamo.utils.counters
        assert not counted["graph_break"]
        assert counted["stats"]["unique_graphs"] <= 2 * 2  # a batch of one text is a case of its own

    def test_causal_calls_beside_bidirectional_ones(self, build):
        """One compiled layer serves both modes: the mask is an argument of it."""
        both, causal = build("llama"), build("llama", attention="causal")
        wanted = [alone(both), alone(causal)]
        assert not np.allclose(*wanted, atol=1e-2)
        for _ in range(2):
            close(both.encode(TEXTS, compile=True), wanted[0])
            close(causal.encode(TEXTS, compile=True), wanted[1])

    def test_without_a_compiler(self, embedder, monkeypatch):
        def broken(*args, **kwargs):
            raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no C++ compiler"), None)

        with pytest.raises(ConfigError, match="cannot be compiled here"), using(embedder.loaded.blocks[:1], [broken]):
            embedder.encode(TEXTS)
        assert compiled([]) == []
