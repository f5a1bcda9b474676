"""Docstrings become pairs, from source files alone: nothing is imported."""

import inspect
import logging
import statistics
import sys
import sysconfig
from pathlib import Path

import pytest
from pydantic import ValidationError

from ullme import DataError, load_source
from ullme_plugins.sources._docstrings import docstrings, pair
from ullme_plugins.sources._pyfiles import package_files
from ullme_plugins.sources.docstrings import Docstrings

REST = "It has a body that is certainly long enough to be kept, number {}."
FUNCTION = '''
def f{0}():
    """Return the answer number {0}.

    It has a body that is certainly long enough to be kept, number {0}.
    """
'''


def read(**config):
    return list(Docstrings(Docstrings.Config(**config)).examples())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package whose import would fail."""
    folder = tmp_path / "site" / "bomb_pkg"
    (folder / "sub").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n" + FUNCTION.format(0))
    (folder / "many.py").write_text("".join(FUNCTION.format(n) for n in range(1, 5)))
    (folder / "sub" / "one.py").write_text(FUNCTION.format(5))
    (folder / "tests" / "test_x.py").write_text(FUNCTION.format(6))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def test_a_package_is_read_without_being_imported(package):
    rows = read(packages=["bomb_pkg"])
    assert [row.id for row in rows] == [
        "bomb_pkg:f0",
        *(f"bomb_pkg.many:f{n}" for n in range(1, 5)),
        "bomb_pkg.sub.one:f5",
    ]
    assert [row.query for row in rows] == [f"Return the answer number {n}." for n in range(6)]
    assert [row.positives for row in rows] == [(REST.format(n),) for n in range(6)]
    assert not [name for name in sys.modules if name.startswith("bomb_pkg")]
    assert [row.id for row in read(path=str(package))][:2] == [":f0", "many:f1"]


def test_hard_negatives_come_from_the_same_module_first(package):
    rows = {row.id: row for row in read(packages=["bomb_pkg"], hard_negatives=3)}
    inside = {REST.format(n) for n in range(1, 5)}
    for n in range(1, 5):
        assert set(rows[f"bomb_pkg.many:f{n}"].negatives) == inside - {REST.format(n)}
    alone = rows["bomb_pkg.sub.one:f5"].negatives
    assert len(set(alone)) == 3
    assert REST.format(5) not in alone
    assert not any(row.negatives for row in read(packages=["bomb_pkg"], hard_negatives=0))


def test_the_seed_decides_the_negatives(package):
    draws = {tuple(row.negatives for row in read(packages=["bomb_pkg"], seed=seed)) for seed in (1, 1, 2, 3)}
    assert 1 < len(draws) <= 3


def test_files_can_be_limited(package):
    few = read(packages=["bomb_pkg"], max_files=1)
    assert few
    assert len({row.id.partition(":")[0] for row in few}) == 1


def test_files_that_do_not_parse_are_counted(package, caplog):
    (package / "py2.py").write_text("print 'hello'\n")
    (package / "null.py").write_bytes(b"a = 1\0")
    with caplog.at_level(logging.WARNING):
        assert len(read(packages=["bomb_pkg"])) == 6
    assert "skipped 2 files" in caplog.text


def test_repeated_summaries_are_used_once(package):
    (package / "again.py").write_text(FUNCTION.format(1).replace("certainly", "surely"))
    rows = read(packages=["bomb_pkg"])
    assert len({row.query for row in rows}) == len(rows) == 6


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return the sum. It is exact.\n\nOf all values.", ("Return the sum.", "It is exact.\n\nOf all values.")),
        ("Wrap lines, e.g. Those too\nlong.\n\nBody.", ("Wrap lines, e.g. Those too long.", "Body.")),
        ("add(x1, x2, /)\n\nAdd arguments.\n\nBody here.", ("Add arguments.", "Body here.")),
        ("Use :class:`~a.B` and ``x``.\n\nBody ``y``.", ("Use a.B and `x`.", "Body `y`.")),
        ("Only a summary.", None),
        ("Parameters\n----------\nx : int", None),
        ("Sort it.\n\nCall to sort it now.", None),
        (
            "Sort it.\n\nBody.\n\n>>> sort()\n1\n\nNotes\n-----\nStable.\n\n"
            "Examples\n--------\nText.\n\n>>> a\n\nRaises\n------\nNo.",
            ("Sort it.", "Body.\n\nNotes\n-----\nStable.\n\nRaises\n------\nNo."),
        ),
        ("Sort it.\n\nBody.\n\n.. versionadded:: 1\n\nExample:\n\n    sort()", ("Sort it.", "Body.")),
    ],
)
def test_summary_and_rest(docstring, expected):
    assert pair(docstring) == expected


def test_docstrings_are_those_that_python_sees():
    source = Path(statistics.__file__).read_bytes()  # a module that nothing patches
    found = dict(docstrings(source))
    assert len(found) > 30
    for name, text in found.items():
        value = statistics
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, type) or inspect.isfunction(value):
            assert text == inspect.cleandoc(value.__doc__)


def test_definitions_under_conditions_are_found():
    body = """
try:
    import x
except ImportError:
    def f(): "F."
else:
    class C:
        async def g(self): "G."
"""
    assert dict(docstrings(body.encode())) == {"f": "F.", "C.g": "G."}


def test_the_standard_library_is_read_without_tests_and_installed_packages():
    modules = [module for module, _ in package_files("stdlib")]
    assert {"json.decoder", "asyncio.tasks", "textwrap"} <= set(modules)
    assert not [module for module in modules if {"test", "tests", "site-packages", "idlelib"} & set(module.split("."))]
    assert package_files("textwrap") == [("textwrap", Path(sysconfig.get_paths()["stdlib"], "textwrap.py"))]


def test_a_distribution_name_works_as_well():
    files = set(package_files("yaml"))
    assert "yaml.loader" in dict(files)
    assert files <= set(package_files("PyYAML"))


def test_real_pairs_keep_their_promises():
    rows = load_source(Docstrings(Docstrings.Config(packages=["asyncio", "email", "unittest"])))
    assert len(rows) > 150
    for row in rows:
        assert row.query.rstrip(".") not in row.positives[0]
        assert ">>>" not in row.positives[0]
        assert len(row.positives[0].split()) >= 8
        assert row.negatives
        assert row.negatives[0] not in row.positives


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"packages": ["nunpy"]}, r"'nunpy' is not installed here. Did you mean .*'numpy'.*\?\n  pip install nunpy"),
        ({"packages": ["email.mime"]}, "expected a top-level name such as 'email'"),
        ({"packages": ["sys"]}, "'sys' is installed but has no Python source"),
        ({"path": "no/such/folder"}, "found no folder at 'no/such/folder'"),
    ],
)
def test_what_cannot_be_read_is_refused(config, message):
    with pytest.raises(DataError, match=message):
        read(**config)


def test_nothing_to_read_is_refused():
    with pytest.raises(ValidationError, match="nothing to read"):
        Docstrings.Config()
