"""From any source to the rows that training and evaluation read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from ullme.data.groups import grouped, identified, same_text
from ullme.data.negatives import NegativeSampler
from ullme.data.split import is_heldout, limited
from ullme.errors import DataError
from ullme.interfaces import DataSource
from ullme.types import Example

if TYPE_CHECKING:
    from ullme.config.slots import Choice


def load_source(source: DataSource | Choice) -> list[Example]:
    """The rows of a source, each with id and group: one part of the hash split, limited, with negatives drawn.

    Negatives come from the positives of the whole part, before `limit`; passages given as negatives do not take part in
    the split. Raises DataError when no row is left or a row cannot be used.
    """
    name = type(source).__name__ if isinstance(source, DataSource) else source.name
    component = source if isinstance(source, DataSource) else cast(DataSource, source.build())
    config = component.config
    everything = grouped(identified(list(_checked(component.examples(), name))))
    if not everything:
        raise DataError(f"{name}: the source holds no rows")
    part = everything
    if config.part != "all":
        part = [row for row in everything if is_heldout(row, config.heldout) == (config.part == "heldout")]
    if not part:
        raise DataError(_empty_part(name, config, everything))
    chosen = part if config.limit is None else limited(part, config.limit)
    if config.sample_negatives:
        sampler = NegativeSampler(part)
        chosen = [sampler.draw(row, config.sample_negatives, config.seed) for row in chosen]
    return chosen


def passages(examples: Iterable[Example]) -> list[str]:
    """Every passage, positive or negative, once, in order of appearance."""
    unique: dict[str, str] = {}
    for example in examples:
        for text in (*example.positives, *example.negatives):
            unique.setdefault(same_text(text), text)
    return list(unique.values())


def describe(examples: Sequence[Example]) -> dict[str, int]:
    """Counts for the summary of a run: rows, distinct passages, groups, rows with negatives."""
    return {
        "rows": len(examples),
        "passages": len(passages(examples)),
        "groups": len({example.group for example in examples}),
        "with_negatives": sum(bool(example.negatives) for example in examples),
    }


def _checked(examples: Iterable[Example], name: str) -> Iterator[Example]:
    for row, example in enumerate(examples, 1):
        if not example.positives:
            raise DataError(f"{name}: row {row}: expected at least one positive passage, found none")
        for text in (example.query, *example.positives, *example.negatives):
            if not text.strip():
                raise DataError(f"{name}: row {row}: expected text, found an empty one")
        yield example


def _empty_part(name: str, config: DataSource.Config, everything: Sequence[Example]) -> str:
    if config.part == "heldout" and config.heldout == 0:
        return f"{name}: part: heldout needs `heldout` above 0, the fraction of passages to keep out of training"
    groups = len({example.group for example in everything})
    return (
        f"{name}: the {config.part} part is empty: with heldout {config.heldout} none of the {groups} groups of "
        f"passages ({len(everything)} rows) falls into it; add rows or change `heldout`"
    )
