"""The index file: what it may say, and where it says what is wrong in it."""

import pytest

from ullme.errors import ConfigError
from ullme.plugins import index
from ullme.plugins.index import Index, IndexEntry, read

ROW = '[[plugin]]\nkind = "loss"\nname = "x"\ndist = "acme"\nsummary = "X"\n'


@pytest.fixture
def write(tmp_path):
    def make(text, name="registry.toml", version="index_version = 1\n"):
        path = tmp_path / name
        path.write_text(version + text, "utf-8")
        return path

    return make


def test_rows_and_tables_are_read(write):
    entry, other = (
        '[[plugin]]\nkind = "loss"\nname = "Old_X"\ndist = "Acme_X"\nsummary = "X"\npaper = "arXiv:1"\nsince = "0.1"\n'
        'status = "deprecated"\naliases = ["Ex_1"]\nreplaced_by = "new_x"\n',
        '[defaults]\npooler = "p"\n[policy]\ndeny = ["Bad_Dist"]\nallow = ["acme"]\n[prefer]\n"loss:X" = "Acme_X"\n',
    )
    path = write(entry + other)
    got = read(path)
    row = IndexEntry("loss", "old-x", "acme-x", "X", "arXiv:1", "0.1", "deprecated", ("ex-1",), "new-x")
    assert got == Index((row,), {"pooler": "p"}, {"bad-dist": str(path)}, {"acme": str(path)}, {"loss:x": "acme-x"})
    assert got.aliased("loss", "ex-1") == "old-x"
    assert got.aliased("pooler", "ex-1") == "ex-1"
    assert got.find("loss", "old-x") == row
    assert got.find("loss", "old-x", "other") is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (ROW + "aliases = ]\n", ":7", "not valid TOML"),
        (ROW + ROW.replace('name = "x"\n', ""), ":7", "lacks name"),
        (ROW + 'sumary = "typo"\n', ":2", "unknown key 'sumary'"),
        (ROW.replace('"loss"', '"losss"'), ":2", "kind is 'losss', expected one of backbone"),
        (ROW + 'status = "great"\n', ":2", "status is 'great'"),
        (ROW + 'aliases = "y"\n', ":2", "expected a list of strings"),
        (ROW + "paper = 5\n", ":2", "paper is 5, expected a string"),
        (ROW + ROW, ":7", "listed twice"),
        (ROW + ROW.replace('"x"', '"y"') + 'aliases = ["x"]\n', ":7", "alias 'x' is already"),
        ("[polcy]\n", "", "unknown key 'polcy'"),
        ("[policy]\nforbid = []\n", "", "unknown key 'forbid'"),
        ("[policy]\ndeny = [1]\n", "", "expected a list of strings"),
        ("[defaults]\npooler = 1\n", "", "expected strings only"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, text, line, says):
    path = write(text)
    with pytest.raises(ConfigError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}{line}: ")
    assert says in str(error.value)


def test_another_version_of_the_format_is_refused(write):
    with pytest.raises(ConfigError, match="index_version is 2"):
        read(write("", version="index_version = 2\n"))
    with pytest.raises(ConfigError, match="index_version is none"):
        read(write("", version=""))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml: the plugin index cannot be read"):
        read(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "latin.toml")


def test_a_layer_wins_over_the_packaged_index_and_adds_to_its_denials(write, monkeypatch):
    packaged = index.load()
    path = write(ROW + '[defaults]\npooler = "mine"\n[policy]\ndeny = ["evil"]\n[prefer]\n"loss:y" = "acme"\n')
    monkeypatch.setenv("ULLME_REGISTRY", str(path))
    layered = index.load()
    assert layered.entries == (IndexEntry("loss", "x", "acme", "X"), *packaged.entries)
    assert layered.defaults == {**packaged.defaults, "pooler": "mine"}
    assert layered.deny == {**packaged.deny, "evil": str(path)}
    assert layered.prefer == {**packaged.prefer, "loss:y": "acme"}


def test_the_row_of_a_layer_replaces_the_same_row():
    base, top = (Index((IndexEntry("loss", "x", "acme", summary),)) for summary in ("old", "new"))
    assert [entry.summary for entry in top.over(base).entries] == ["new"]


def test_the_packaged_index_has_defaults_for_a_silent_pipeline():
    assert {"embed", "generate", "pooler"} <= index.load().defaults.keys()
