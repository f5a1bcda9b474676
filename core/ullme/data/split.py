"""Who is held out and who is kept, by hash: the same rows whatever their order and their neighbours."""

from collections.abc import Sequence
from heapq import nsmallest

from ullme.data.groups import stable_hash
from ullme.types import Example


def is_heldout(example: Example, fraction: float) -> bool:
    """Whether the example's group falls into the `fraction` of groups that training never sees."""
    return stable_hash("heldout", example.group) < fraction * 2**64


def limited(examples: Sequence[Example], limit: int) -> list[Example]:
    """At most `limit` examples, in their order: those whose ids hash lowest."""
    kept = nsmallest(limit, range(len(examples)), key=lambda row: stable_hash("limit", examples[row].id))
    return [examples[row] for row in sorted(kept)]
