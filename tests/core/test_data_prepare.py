"""Ids, groups, the split by hash, the limit, drawn negatives: properties that hold for any rows."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ullme.data.prepare import describe, load_source, passages
from ullme.data.split import is_heldout
from ullme.errors import DataError
from ullme.interfaces import DataSource
from ullme.types import Example


class Rows(DataSource):
    """Examples from memory."""

    def __init__(self, rows, **config):
        super().__init__(DataSource.Config(**config))
        self.rows = rows

    def examples(self):
        yield from self.rows


def load(rows, **config):
    return load_source(Rows(rows, **config))


def pairs(count):
    return [Example(f"question {n}", (f"passage {n}",)) for n in range(count)]


texts = st.sampled_from([f"passage {n}" for n in range(9)] + ["passage  0", " passage\n1"])
some_rows = st.lists(
    st.builds(
        Example,
        query=st.sampled_from(["a", "b", "c"]),
        positives=st.lists(texts, min_size=1, max_size=3).map(tuple),
        negatives=st.lists(texts, max_size=2).map(tuple),
        group=st.sampled_from(["", "", "", "red", "blue"]),
    ),
    min_size=1,
    max_size=12,
)


def normal(text):
    return " ".join(text.split())


@given(some_rows)
def test_groups_are_the_connected_components(rows):
    keys = [
        [f"text {normal(text)}" for text in row.positives] + [f"name {row.group}"] * bool(row.group) for row in rows
    ]
    columns = {key: place for place, key in enumerate(dict.fromkeys(key for own in keys for key in own))}
    size = len(rows) + len(columns)
    edges = [(row, len(rows) + columns[key]) for row, own in enumerate(keys) for key in own]
    graph = coo_matrix((np.ones(len(edges)), tuple(zip(*edges, strict=True))), shape=(size, size))
    expected = connected_components(graph, directed=False)[1][: len(rows)]
    groups = [row.group for row in load(rows)]
    for left in range(len(rows)):
        for right in range(len(rows)):
            assert (groups[left] == groups[right]) == (expected[left] == expected[right])


@given(some_rows, st.sampled_from([0.2, 0.5, 0.8]))
def test_no_passage_is_in_both_parts(rows, heldout):
    everything = load(rows)
    held_groups = {row.group for row in everything if is_heldout(row, heldout)}
    parts = []
    for part, expected in (("train", {row.group for row in everything} - held_groups), ("heldout", held_groups)):
        if expected:
            parts.append(load(rows, part=part, heldout=heldout))
            assert {row.group for row in parts[-1]} == expected
        else:
            parts.append([])
            with pytest.raises(DataError, match=f"the {part} part is empty"):
                load(rows, part=part, heldout=heldout)
    train, held = ({normal(text) for row in part for text in row.positives} for part in parts)
    assert not train & held
    assert len(parts[0]) + len(parts[1]) == len(rows)


def drawn(rows):
    return sorted((row.id, row.group, row.query, row.positives, row.negatives) for row in rows)


@given(some_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_irrelevant(rows, rng):
    config = {"part": "train", "heldout": 0.3, "limit": 4, "sample_negatives": 1}
    shuffled = rng.sample(rows, len(rows))
    try:
        expected = drawn(load(rows, **config))
    except DataError:
        with pytest.raises(DataError):
            load(shuffled, **config)
    else:
        assert drawn(load(shuffled, **config)) == expected


@given(some_rows, st.integers(1, 3), st.integers(0, 5))
def test_drawn_negatives_belong_to_other_groups(rows, count, seed):
    plain = load(rows)
    pool = {normal(text): row.group for row in plain for text in row.positives}

    def foreign(row):
        return {text for text, group in pool.items() if group != row.group} - {normal(text) for text in row.negatives}

    if any(len(foreign(row)) < count for row in plain):
        with pytest.raises(DataError, match=f"sample_negatives: {count} asks for more than there is"):
            load(rows, sample_negatives=count, seed=seed)
        return
    for before, after in zip(plain, load(rows, sample_negatives=count, seed=seed), strict=True):
        assert after.negatives[: len(before.negatives)] == before.negatives
        new = [normal(text) for text in after.negatives[len(before.negatives) :]]
        assert len(set(new)) == len(new) == count
        assert set(new) <= foreign(before)


def test_negatives_are_uniform_and_seeded():
    rows = pairs(5)
    counts = dict.fromkeys((f"passage {n}" for n in range(1, 5)), 0)
    for seed in range(2000):
        first = load(rows, sample_negatives=1, seed=seed)[0]
        counts[first.negatives[0]] += 1
    assert all(abs(count - 500) < 90 for count in counts.values())  # 90 is 4.6 standard deviations
    assert load(rows, sample_negatives=2, seed=7) == load(rows, sample_negatives=2, seed=7)


def test_negatives_come_from_the_same_part_and_ignore_the_limit():
    rows = pairs(300)
    train = load(rows, part="train", heldout=0.5, sample_negatives=2)
    known = {text for row in train for text in row.positives}
    assert {text for row in train for text in row.negatives} <= known
    few = load(rows, part="train", heldout=0.5, sample_negatives=2, limit=3)
    assert set(few) <= set(train)


def test_the_split_has_the_asked_size_and_survives_new_rows():
    rows = pairs(4000)
    held = load(rows, part="heldout", heldout=0.25)
    assert 900 < len(held) < 1100  # 1000 +- 3.6 standard deviations
    assert held == [row for row in load(pairs(5000), part="heldout", heldout=0.25) if row in held]
    more = load(rows, part="heldout", heldout=0.3)
    assert set(held) < set(more)


def test_the_limit_is_stable_and_keeps_the_order():
    rows = pairs(500)
    few = load(rows, limit=50)
    assert few == [row for row in load(rows) if row in few]
    assert set(load(rows, limit=20)) < set(few)
    after = load(pairs(550), limit=50)
    assert len(set(few) & set(after)) >= 35
    random.Random(0).shuffle(rows)
    assert set(load(rows, limit=50)) == set(few)


def test_a_group_is_named_by_its_own_rows():
    rows = [Example("q", ("one",), group="mine"), Example("q", ("two",)), Example("r", ("one", "three"))]
    alone = load(rows[1:2])[0].group
    together = load(rows)
    assert [row.group for row in together] == ["mine", alone, "mine"]


def test_ids_depend_on_the_row_alone_and_are_unique():
    row = Example("q", ("p",))
    first, again, other = load([row, row, replace(row, query="r")])
    assert first.id == load([row])[0].id
    assert len({first.id, again.id, other.id}) == 3
    assert load([replace(row, id="mine")])[0].id == "mine"
    with pytest.raises(DataError, match="two rows have the id 'mine'"):
        load([replace(row, id="mine"), Example("r", ("s",), id="mine")])


def test_passages_and_counts():
    rows = load([Example("q", ("a", "b"), ("c",)), Example("r", (" a",)), Example("s", ("d",), ("b",))])
    assert passages(rows) == ["a", "b", "c", "d"]
    assert describe(rows) == {"rows": 3, "passages": 4, "groups": 2, "with_negatives": 2}


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        ([], {}, "Rows: the source holds no rows"),
        (pairs(3), {"part": "heldout"}, "needs `heldout` above 0"),
        (
            pairs(1),
            {"part": "train", "heldout": 0.999999},
            "train part is empty: with heldout 0.999999 none of the 1 gr",
        ),
        ([Example("q", ())], {}, "row 1: expected at least one positive"),
        ([*pairs(1), Example(" \n", ("p",))], {}, "row 2: expected text, found an empty one"),
        ([Example("q", ("p",), ("",))], {}, "row 1: expected text, found an empty one"),
        (pairs(1), {"sample_negatives": 1}, "only 0 passages of other groups"),
    ],
)
def test_what_cannot_be_used_is_refused(rows, config, message):
    with pytest.raises(DataError) as caught:
        load(rows, **config)
    assert message in str(caught.value)


def test_a_choice_is_built_and_named():
    class Choice:
        name = "from-memory"

        def build(self):
            return Rows([])

    with pytest.raises(DataError, match=r"^from-memory: the source holds no rows"):
        load_source(Choice())
