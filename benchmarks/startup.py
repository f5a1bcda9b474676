"""How long the light commands take, as whole processes: `python benchmarks/startup.py [--runs 20]`.

Prints a Markdown table. Fails if a command imports torch or takes longer than promised in at least half of its runs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {  # command line: promised seconds
    ("list-plugins",): 0.150,
    ("validate", "examples/quickstart.yaml"): 0.500,
}
ASSERT_LIGHT = (
    "import sys; from ullme.cli import main; code = main(); assert 'torch' not in sys.modules; sys.exit(code)"
)


def seconds(*command: str) -> float:
    """Wall time of one child process of this interpreter, from start to exit."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and print; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    print("| command | minimum | median | promised |\n|---|---|---|---|")
    kept = True
    for arguments, promised in {("-c", "pass"): None, **COMMANDS}.items():
        if promised is None:
            command, label = arguments, "(an empty Python process)"
        else:
            seconds("-c", ASSERT_LIGHT, *arguments)  # also warms the caches
            command, label = ("-m", "ullme", *arguments), f"ullme {' '.join(arguments)}"
        times = [seconds(*command) for _ in range(runs)]
        median = statistics.median(times)
        limit = "" if promised is None else f"{promised * 1000:.0f} ms"
        print(f"| `{label}` | {min(times) * 1000:.0f} ms | {median * 1000:.0f} ms | {limit} |")
        kept = kept and (promised is None or median <= promised)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
