"""`ullme check-backbones`: names, exit codes, outputs. What it finds is tested in test_families.py."""

import json

import pytest

from ullme import cli
from ullme_plugins.commands import _catalogue, _matrix, _table
from ullme_plugins.commands._matrix import Row, Verdict


def test_a_named_family_in_json(capsys):
    assert cli.main(["check-backbones", "qwen2-moe", "--attn", "sdpa", "--fast", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["family"], row["plugin"]) == ("qwen2_moe", "qwen2-moe")
    assert row["verdicts"] == {"sdpa": {"status": "accepted", "reason": ""}}
    assert row["accepted"]


def test_the_table_and_the_exit_code_for_a_family_that_is_not_accepted(capsys):
    assert cli.main(["check-backbones", "mamba", "--attn", "eager", "--fast"]) == 1
    captured = capsys.readouterr()
    assert "refused" in captured.out
    assert "it is recurrent" in captured.out
    assert captured.err.endswith("not accepted: mamba\n")


def test_a_backbone_stands_for_its_families_and_an_alias_for_a_backbone():
    assert _catalogue.chosen(["mistral"]) == ["ministral", "ministral3", "mistral"]
    assert _catalogue.chosen(["mt5-encoder"]) == ["mt5", "t5", "umt5"]
    assert _catalogue.chosen(["falcon"]) == ["falcon", "falcon, alibi"]
    assert _catalogue.chosen(["jamba", "xglm", "jamba"]) == ["jamba", "xglm"]
    assert set(_catalogue.chosen([])) == set(_catalogue.families())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lama"], "no backbone and no model type of a text model is called 'lama'. Did you mean 'llama'?"),
        (["bart"], "'bart' is not looked at: an encoder-decoder, or half of one"),
        (["llama", "--attn", "sdpa,flash"], "--attn: 'flash' is none of eager, sdpa, flex"),
        (["llama", "--write", "page.md"], "--write takes the whole table"),
        (["--fast", "--write", "page.md"], "--write takes the whole table"),
    ],
)
def test_mistakes_are_reported(capsys, arguments, message):
    assert cli.main(["check-backbones", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_language_model_without_the_implementation_is_still_counted_as_one(capsys):
    assert cli.main(["check-backbones", "gemma2", "--attn", "sdpa", "--fast"]) == 1
    assert "0 of 1 families of language models accepted" in capsys.readouterr().out


def test_a_type_that_cannot_be_built_is_listed_with_the_error():
    row = _matrix.examine("funnel", ("eager",), fast=True)
    assert row.verdicts["eager"].status == "absent"
    assert row.verdicts["eager"].reason.startswith("not built: ")
    assert not row.accepted


def test_a_reason_is_said_once_and_of_the_implementation_that_it_is_of():
    both = Row("a", "auto", "decoder", {"eager": Verdict("refused", "why"), "sdpa": Verdict("refused", "why")})
    one = Row("b", "b", "decoder", {"eager": Verdict("refused", "why"), "sdpa": Verdict("accepted")})
    lacks = Row("c", "auto", "decoder", {"eager": Verdict("refused", "why"), "sdpa": Verdict("absent", "no sdpa")})
    assert [list(_table.reasons(row)) for row in (both, one, lacks)] == [["why"], ["eager: why"], ["why"]]
    assert [row.accepted for row in (both, one, lacks)] == [False, True, False]


def test_the_page_counts_types_and_not_their_variants():
    yes = {"eager": Verdict("accepted")}
    rows = [Row("a", "a", "decoder", yes), Row("a, other", "a", "decoder", yes), Row("e", "e", "encoder", yes)]
    page = _table.markdown(rows, ("eager",), {"z": "a | b"}, "ullme check-backbones")
    assert "**1 of 1 families of language models are accepted**, and 1 of 1 encoders." in page
    assert "| a, other | a | yes |  |" in page
