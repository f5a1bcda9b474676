"""Conformance of data sources."""

from __future__ import annotations

from typing import ClassVar

from ullme.interfaces import DataSource
from ullme.testing.component import ComponentConformance
from ullme.types import Example


class SourceConformance(ComponentConformance):
    """Set `config`, or override the fixture `settings`, so that a few rows can be read without a network."""

    kind: ClassVar[str] = "source"

    def test_rows_are_usable(self, component: DataSource) -> None:
        """Every row has a query and at least one positive, and no text is empty."""
        rows = list(component.examples())
        assert rows, "no rows"
        for row in rows:
            assert isinstance(row, Example)
            assert isinstance(row.positives, tuple), "positives is a tuple"
            assert isinstance(row.negatives, tuple), "negatives is a tuple"
            assert row.positives, f"no positive: {row}"
            texts = (row.query, *row.positives, *row.negatives)
            assert all(text.strip() for text in texts), f"empty text: {row}"
            assert not set(row.positives) & set(row.negatives), f"a positive is also a negative: {row}"

    def test_order_is_fixed(self, component: DataSource) -> None:
        """A resumed run reads the rows that it would have read."""
        assert list(component.examples()) == list(component.examples())

    def test_ids_are_distinct(self, component: DataSource) -> None:
        """Rows that bring an id bring one of their own."""
        ids = [row.id for row in component.examples() if row.id]
        assert len(ids) == len(set(ids))
