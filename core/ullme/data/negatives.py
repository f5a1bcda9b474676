"""Negatives for data that brings none: passages that answer other questions."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ullme.data.groups import same_text, stable_hash
from ullme.errors import DataError
from ullme.types import Example


class NegativeSampler:
    """Draws from the positives of `examples`, uniformly over those of other groups than the row's own."""

    def __init__(self, examples: Sequence[Example]) -> None:
        texts = sorted({(row.group, text) for row in examples for text in row.positives}, reverse=True)
        unique = {(group, same_text(text)): text for group, text in texts}
        # Sorted, so that a draw does not depend on the order of rows; a group's passages are neighbours.
        ranked = sorted(unique, key=lambda key: (key[0], stable_hash(key[1]), key[1]))
        self._passages = [unique[key] for key in ranked]
        self._compared = [text for _, text in ranked]
        self._span: dict[str, tuple[int, int]] = {}
        for place, (group, _) in enumerate(ranked):
            self._span[group] = (self._span.get(group, (place, 0))[0], place + 1)

    def draw(self, example: Example, count: int, seed: int) -> Example:
        """The example with `count` distinct negatives more, by `seed` and its id. Raises DataError if too few."""
        start, stop = self._span[example.group]
        foreign = len(self._passages) - (stop - start)
        given = {same_text(text) for text in example.negatives}
        rng = Random(stable_hash("negatives", str(seed), example.id))
        places = rng.sample(range(foreign), min(foreign, count + len(given)))
        places = [place if place < start else place + stop - start for place in places]  # step over the own group
        drawn = [self._passages[place] for place in places if self._compared[place] not in given][:count]
        if len(drawn) < count:
            raise DataError(
                f"sample_negatives: {count} asks for more than there is: for row {example.id!r} only {len(drawn)} "
                "passages of other groups are left; add rows or ask for fewer"
            )
        return replace(example, negatives=example.negatives + tuple(drawn))
