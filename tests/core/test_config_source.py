"""Reading YAML: the right values, the right places, and nothing but plain values."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ullme.config.interpolate import interpolate
from ullme.config.load import dump_yaml
from ullme.config.source import read
from ullme.config.tree import Node, Problem
from ullme.errors import ConfigError

# Text such as 0E0, which YAML 1.1 writes as it is and YAML 1.2 reads as a number, has a test of its own.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
TEXT = st.text().filter(lambda text: not NUMBER.fullmatch(text))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
MAPPINGS = st.dictionaries(TEXT.filter(len), VALUES, min_size=1)


def parsed(tmp_path: Path, text: str) -> tuple[Node, list[Problem]]:
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8", newline="")
    problems: list[Problem] = []
    return read(path, problems), problems


@settings(max_examples=60, deadline=None)
@given(value=MAPPINGS)
def test_reads_what_pyyaml_writes_and_what_we_write(tmp_path_factory: pytest.TempPathFactory, value: dict) -> None:
    folder = tmp_path_factory.mktemp("yaml")
    for style in (True, False):
        text = yaml.safe_dump(value, default_flow_style=style)
        root, problems = parsed(folder, text)
        assert problems == []
        assert root.plain() == yaml.safe_load(text)
    ours = dump_yaml(value)
    root, problems = parsed(folder, ours)
    assert problems == []
    assert root.plain() == yaml.safe_load(ours)  # a YAML 1.1 reader sees the same
    assert interpolate(root, problems).plain() == {key: part for key, part in value.items() if key != "vars"}
    assert problems == []


@pytest.mark.parametrize("text", ["0E0", "1e5", "-2E-3", ".5e3"])
def test_text_that_looks_like_a_number_is_written_as_text(tmp_path: Path, text: str) -> None:
    assert parsed(tmp_path, dump_yaml({"a": text}))[0].plain() == {"a": text}
    assert isinstance(parsed(tmp_path, f"a: {text}\n")[0].plain()["a"], float)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("0x1f", 31),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("010", "010"),
        ("0o10", "0o10"),
        ("true", True),
        ("~", None),
        ("", None),
        ("1_000", 1000),
        ("'1'", "1"),
        ("!!str 12", "12"),
        ("!!float 3", 3.0),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    root, problems = parsed(tmp_path, f"a: {text}\n")
    assert problems == []
    assert root.plain() == {"a": value}
    assert type(root.plain()["a"]) is type(value)


def test_a_key_is_its_text(tmp_path: Path) -> None:
    root, _ = parsed(tmp_path, "no: 1\n64: 2\n1.50: 3\n~: 4\n")
    assert root.plain() == {"no": 1, "64": 2, "1.50": 3, "~": 4}


def test_every_value_and_key_knows_its_place(tmp_path: Path) -> None:
    text = "top: {left: aa, right: [bb, cc]}\nlow:\n  - dd\n  - ee:   ff\n"
    root, _ = parsed(tmp_path, text)
    lines = text.splitlines()

    def check(node: Node) -> int:
        if isinstance(node.value, str):
            assert lines[node.place.line - 1][node.place.column - 1 :].startswith(node.value)
            return 1
        if isinstance(node.value, list):
            return sum(map(check, node.value))
        for key, child in node.value.items():
            assert child.key is not None
            assert lines[child.key.line - 1][child.key.column - 1 :].startswith(key)
        return sum(map(check, node.value.values()))

    assert check(root) == 5


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: {<<: [*a, {x: 5, z: 6}]}\ne: {<<: *a, y: 4}\n"
    root, problems = parsed(tmp_path, text)
    assert problems == []
    assert root.plain() == yaml.safe_load(text)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, line_end: str) -> None:
    root, _ = parsed(tmp_path, "\ufeff" + line_end.join(["a: 1", "# note", "b: [x, y]", ""]))
    assert root.plain() == {"a": 1, "b": ["x", "y"]}
    assert root.value["b"].value[1].place.line == 3
    assert root.value["b"].value[1].place.text == "b: [x, y]"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("a: 1\nb: 2\na: 3\nb: 4\n", [":3:1 key 'a' is given twice (first on line 1)", ":4:1 key 'b' is given twice"]),
        ("m: &m {x: 1, x: 2}\nn: *m\n", [":1:14 key 'x' is given twice"]),
        ("b: {<<: &a {x: 1, x: 2}}\n", [":1:19 key 'x' is given twice"]),
        ("a: &a [1, *a]\n", [":1:4 a.1: this anchor contains itself"]),
        ("a: !!python/object/apply:os.system [ls]\n", [":1:4 a: tag !!python/object/apply:os.system is not allowed"]),
        ("a: !mine {b: 1}\n", [":1:4 a: tag !mine is not allowed"]),
        ("a: !!int twelve\n", [":1:4 a: 'twelve' is no valid !!int"]),
        ("a: {[1, 2]: 3}\n", [":1:5 a key must be plain text"]),
    ],
)
def test_what_is_wrong_in_a_readable_file_is_collected(tmp_path: Path, text: str, messages: list[str]) -> None:
    _, problems = parsed(tmp_path, text)
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert message in str(problem)
        assert problem.place.text == text.splitlines()[problem.place.line - 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.yaml: the file is empty; expected a mapping"),
        (b"# only a note\n", "a.yaml: the file is empty"),
        (b"- 1\n- 2\n", "a.yaml:1:1 expected a mapping of keys to values at the top level"),
        (b"just text\n", "a.yaml:1:1 expected a mapping"),
        (b"a: {b: 1\nc: 2\n", "a.yaml:2:2 not valid YAML: expected ',' or '}'"),
        (b"a: b: c\n", "a.yaml:1:5 not valid YAML: mapping values are not allowed here"),
        (b"a:\n\tb: 1\n", "a.yaml:2:1 not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "a.yaml:2:1 not valid YAML: but found another document"),
        (b"a: *nowhere\n", "a.yaml:1:4 not valid YAML: found undefined alias"),
        (b"a: 1\nb: x\x07y\n", "a.yaml:2:5 not valid YAML: character U+0007 is not allowed"),
        ("a: 1\nb: caf\u00e9\n".encode("latin-1"), "a.yaml:2:7 not UTF-8 text: byte 0xe9"),
        (b"\xff\xfea\x00", "a.yaml:1:1 not UTF-8 text: byte 0xff"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(Path("a.yaml"), [])
    assert str(caught.value).startswith(message)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").touch()
    with pytest.raises(ConfigError, match=r"quickstrat.yaml: no such file. Did you mean .*quickstart.yaml\?"):
        read(tmp_path / "quickstrat.yaml", [])
    with pytest.raises(ConfigError, match=r"no such file$"):
        read(tmp_path / "nowhere" / "a.yaml", [])
    with pytest.raises(ConfigError, match="is a directory; expected a YAML file"):
        read(tmp_path, [])


def test_the_caret_stands_below_the_column(tmp_path: Path) -> None:
    root, _ = parsed(tmp_path, "a:\n  b: ['x\ty', 'y']\n")
    _, shown, caret = root.value["a"].value["b"].value[1].place.excerpt().split("\n")
    assert shown.index("'y'") == caret.index("^")
    assert caret.endswith("\t    ^")  # the tab is repeated, so that the caret stands right at any tab width
    long_line = "key: [" + "item, " * 60 + "last]\n"
    root, _ = parsed(tmp_path, long_line)
    place = root.value["key"].value[-1].place
    _, shown, caret = place.excerpt().split("\n")
    assert shown[caret.index("^") :].startswith("last")
    assert len(shown) < 120
