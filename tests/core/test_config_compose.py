"""extends, --set and references."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullme.config.compose import compose
from ullme.config.load import dump_yaml
from ullme.config.override import override
from ullme.config.tree import Place, from_plain
from ullme.errors import ConfigError


def composed(folder: Path, *overrides: str, **files: str) -> Any:
    """The value of `main`; other files lie beside it. Nothing may be wrong."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    document = compose(folder / "main.yaml", overrides)
    assert document.problems == []
    return document.root.plain()


def problems(folder: Path, *overrides: str, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return [str(problem).replace(f"{folder}/", "") for problem in compose(folder / "main.yaml", overrides).problems]


def test_mappings_merge_and_lists_replace(tmp_path: Path) -> None:
    value = composed(
        tmp_path,
        main="extends: base.yaml\nmodel: {x: 1}\nlosses: [c]\n",
        base="seed: 7\nmodel: {x: 0, y: 2}\nlosses: [a, b]\n",
    )
    assert value == {"seed": 7, "model": {"x": 1, "y": 2}, "losses": ["c"]}


def test_later_parents_win_and_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.yaml").write_text("extends: two.yaml\na: 1\nb: 1\n")
    (tmp_path / "sub" / "two.yaml").write_text("a: 2\nc: 2\n")
    value = composed(tmp_path, main="extends: [sub/one.yaml, three.yaml]\nd: 0\n", three="b: 3\n")
    assert value == {"a": 1, "b": 3, "c": 2, "d": 0}


@pytest.mark.parametrize(
    ("base", "top", "result"),
    [
        ("{use: heads, heads: 8}", "{use: average}", {"use": "average"}),
        ("{use: heads, heads: 8}", "average", {"use": "average"}),
        ("{use: two_heads, heads: 8}", "two-heads", {"use": "two-heads", "heads": 8}),
        ("{use: heads, heads: 8}", "{heads: 4}", {"use": "heads", "heads": 4}),
        ("heads", "{heads: 4}", {"use": "heads", "heads": 4}),
        ("average", "{use: heads, heads: 4}", {"use": "heads", "heads": 4}),
        ("average", "heads", "heads"),
        ("{use: heads, heads: 8}", "null", None),
    ],
)
def test_another_plugin_replaces_and_the_same_one_merges(tmp_path: Path, base: str, top: str, result: Any) -> None:
    value = composed(tmp_path, main=f"extends: base.yaml\npooler: {top}\n", base=f"pooler: {base}\n")
    assert value == {"pooler": result}


def test_text_in_vars_is_never_short_for_a_plugin(tmp_path: Path) -> None:
    value = composed(
        tmp_path,
        main='extends: base.yaml\nvars: {data: {path: b}}\nx: "${vars.data}"\n',
        base="vars: {data: a.jsonl}\n",
    )
    assert value == {"x": {"path": "b"}}


def test_cycle_of_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: main.yaml\n")
    with pytest.raises(
        ConfigError, match=r"base.yaml:1:10 extends: .*cycle: \S*main.yaml -> \S*base.yaml -> \S*main.yaml"
    ):
        composed(tmp_path, main="extends: base.yaml\n")


def test_a_missing_parent_is_blamed_on_the_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"main.yaml:2:10 extends: \S*bsae.yaml: no such file. Did you mean \S*base.yaml\?"
    ):
        composed(tmp_path, main="a: 1\nextends: bsae.yaml\n", base="b: 1\n")
    with pytest.raises(ConfigError, match=r"^\S*base.yaml:1:1 not valid YAML"):
        composed(tmp_path, main="extends: base.yaml\n", base="}\n")
    assert "expected a file name" in problems(tmp_path, main="extends: [3]\na: 1\n")[0]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a.b=2", {"a": {"b": 2, "l": [{"use": "p", "k": 1}]}}),
        ("a.l.0.k=x=y", {"a": {"b": 1, "l": [{"use": "p", "k": "x=y"}]}}),
        ("a.l.0.use=q", {"a": {"b": 1, "l": [{"use": "q"}]}}),
        ("a.l.0.use=p", {"a": {"b": 1, "l": [{"use": "p", "k": 1}]}}),
        ("a.l=[1, {z: 1e-3}]", {"a": {"b": 1, "l": [1, {"z": 1e-3}]}}),
        ("a.l.0=q", {"a": {"b": 1, "l": ["q"]}}),
        ("a=", {"a": None}),
        ("new.deep.key=1", {"a": {"b": 1, "l": [{"use": "p", "k": 1}]}, "new": {"deep": {"key": 1}}}),
    ],
)
def test_set(tmp_path: Path, text: str, result: Any) -> None:
    assert composed(tmp_path, text, main="a: {b: 1, l: [{use: p, k: 1}]}\n") == result


def test_set_writes_out_a_short_form_and_fills_what_is_null(tmp_path: Path) -> None:
    main = "pooler: heads\nadapter: null\nvars: {x: 1}\ny: ${vars.x}\n"
    value = composed(tmp_path, "pooler.heads=4", "adapter.r=8", "vars.x=5", "pooler.heads=6", main=main)
    assert value == {"pooler": {"use": "heads", "heads": 6}, "adapter": {"r": 8}, "y": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "--set a.b: expected PATH=VALUE"),
        ("=1", "--set =1: expected PATH=VALUE"),
        ("a..b=1", "--set a..b=1: expected PATH=VALUE"),
        ("l.5=1", "--set l.5=1: l is a list without an item '5'; its items are 0 to 1"),
        ("l.x=1", "--set l.x=1: l is a list without an item 'x'"),
        ("l.-1=1", "--set l.-1=1: l is a list without an item '-1'"),
        ("n.x=1", "--set n.x=1: n is 3; nothing can be set below it"),
        ("extends=b.yaml", "--set extends=b.yaml: `extends` is read from files only"),
        ("a={b: 1", "--set a={b: 1: not valid YAML: expected ',' or '}'"),
        ("a={b: 1, b: 2}", "--set a={b: 1, b: 2}: key 'b' is given twice"),
        ("a=!!set {b}", "--set a=!!set {b}: tag !!set is not allowed"),
    ],
)
def test_a_bad_override_is_quoted_and_the_rest_goes_on(tmp_path: Path, text: str, message: str) -> None:
    found = problems(tmp_path, text, "l.9=1", main="a: {}\nl: [1, 2]\nn: 3\n")
    assert len(found) == 2
    assert found[0].startswith(message)
    assert found[1].startswith("--set l.9=1: ")


LEAVES = st.none() | st.booleans() | st.integers() | st.text("abc$ {}:,[]#'\"\n", max_size=6)
KEYS = st.text("abcxyz_-", min_size=1, max_size=3).filter(lambda key: key not in ("use", "extends"))
TREES = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3)),
    min_size=1,
)


@settings(max_examples=80, deadline=None)
@given(tree=TREES, value=LEAVES, data=st.data())
def test_what_is_set_is_read_back_and_nothing_else_changes(tree: Any, value: Any, data: st.DataObject) -> None:
    expected = copy.deepcopy(tree)
    holder, steps = expected, []
    while True:
        keys = list(range(len(holder))) if isinstance(holder, list) else list(holder)
        step = data.draw(st.sampled_from(keys))
        steps.append(step)
        if not (isinstance(holder[step], (dict, list)) and holder[step] and data.draw(st.booleans())):
            break
        holder = holder[step]
    holder[step] = value
    found: list[Any] = []
    text = f"{'.'.join(map(str, steps))}={dump_yaml({'v': value}).partition('v:')[2]}".replace("$${", "${")
    result = override(from_plain(tree, Place("test")), text, found)
    assert found == []
    assert result.plain() == expected


def test_references_keep_their_type_and_become_text_inside_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULLME_TEST_NUMBER", "1e-3")
    monkeypatch.setenv("ULLME_TEST_EMPTY", "")
    main = """\
vars: {n: 3, f: 0.5, t: true, list: [1, "${vars.n}"], map: {k: "${vars.list}"}, name: n}
a: ${vars.n}
b: "x-${vars.n}-${vars.f}-${vars.t}"
c: ${vars.map.k.1}
d: ${vars.list}
e: ${env:ULLME_TEST_NUMBER}
f: "at ${env:ULLME_TEST_NUMBER}"
g: ${env:ULLME_TEST_EMPTY:-[7, 8]}
h: "<${env:ULLME_TEST_UNSET:-}>"
i: $${vars.n} and $$${vars.n} $ {}
j: ${l.0.x}
l: [{x: "${a}"}]
"""
    assert composed(tmp_path, main=main) == {
        "a": 3,
        "b": "x-3-0.5-true",
        "c": 3,
        "d": [1, 3],
        "e": 1e-3,
        "f": "at 1e-3",
        "g": [7, 8],
        "h": "<>",
        "i": "${vars.n} and $${vars.n} $ {}",
        "j": 3,
        "l": [{"x": 3}],
    }


def test_references_see_overrides_and_other_files(tmp_path: Path) -> None:
    value = composed(
        tmp_path,
        "vars.x=9",
        main="extends: base.yaml\nvars: {y: 2}\n",
        base='vars: {x: 1, y: 1}\na: "${vars.x}${vars.y}"\n',
    )
    assert value == {"a": "92"}


@pytest.mark.parametrize(
    ("main", "message"),
    [
        ("a: ${vars.x}\nvars: {xs: 1}\n", "1:4 a: ${vars.x}: no 'x' is written there. Did you mean 'xs'?"),
        ("a: ${b}\nb: ${c}\nc: ${b}\n", "references form a cycle: b -> c -> b"),
        ("a: {x: '${a}'}\n", "references form a cycle: a -> a"),
        ("a: ${env:ULLME_TEST_UNSET}\n", "1:4 a: environment variable ULLME_TEST_UNSET is not set"),
        (
            "a: 'x ${vars.m} y'\nvars: {m: {k: 1}}\n",
            "1:4 a: ${vars.m} is a mapping of k, which cannot stand inside a text",
        ),
        ("a: ${vars.x\n", "1:4 a: `${` is not closed by a `}`"),
        ("a: ${b.c.d}\nb: {c: 3}\n", "1:4 a: ${b.c.d}: no 'd' is written there. Found: 3"),
        ("a: '${env:ULLME_TEST_UNSET:-[}'\n", "1:4 a: not valid YAML"),
        ("a: ${vars.y}\nvars: {y: '${vars.z}'}\n", "2:11 a: ${vars.z}: no 'z' is written there"),
    ],
)
def test_a_reference_that_leads_nowhere(tmp_path: Path, main: str, message: str) -> None:
    found = problems(tmp_path, main=main)
    assert found
    assert message in found[0]


def test_an_unused_variable_needs_no_environment(tmp_path: Path) -> None:
    assert composed(tmp_path, main="vars: {x: '${env:ULLME_TEST_UNSET}'}\na: 1\n") == {"a": 1}
