"""Learning-rate factors as pure functions of the step."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def factor(kind: Schedule, step: int, *, warmup: int, total: int) -> float:
    """Factor of the peak rate at `step` (from 0): rises over `warmup` steps, then constant or down to 0 at `total`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
