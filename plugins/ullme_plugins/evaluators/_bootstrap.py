"""How sure a mean over queries is."""

from __future__ import annotations

from collections.abc import Sequence


def interval(groups: Sequence[Sequence[float]], resamples: int, seed: int) -> tuple[float, float]:
    """The percentile bootstrap's 95% interval of the mean of the groups' means; each group is resampled by itself.

    A group holds one value per query of one language or split (Efron and Tibshirani, An Introduction to the
    Bootstrap, chapter 13).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for group in groups:
        values = np.asarray(group)
        for draw in range(resamples):
            means[draw] += rng.choice(values, len(values)).mean() / len(groups)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
