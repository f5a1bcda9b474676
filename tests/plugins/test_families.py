"""Every family with a backbone of its own passes the self-test, fast part; the table in docs/ lists what is there."""

import re
from pathlib import Path

import pytest

from ullme_plugins.commands import _catalogue, _matrix, check_backbones

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
NAMED = [family for family in _catalogue.families() if _catalogue.reader(family) != "auto"]
MAY_BE_REFUSED = {("falcon, alibi", "eager")}


def rows_of_the_page(page: Path = PAGE) -> dict[str, tuple[str, list[str]]]:
    """Family -> (backbone, cells) of every table but the last."""
    text = page.read_text("utf-8").partition("## Not looked at")[0]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: (row[1], row[2:4]) for row in cells if row[0] != "family"}


@pytest.mark.parametrize("family", NAMED)
def test_a_named_family_passes(family):
    row = _matrix.examine(family, ("eager", "sdpa"), fast=True)
    wrong = {
        name: verdict
        for name, verdict in row.verdicts.items()
        if verdict.status not in ("accepted", "absent") and (family, name) not in MAY_BE_REFUSED
    }
    assert not wrong
    assert row.accepted


@pytest.mark.parametrize(
    "family", ["llama4_text", "hyperclovax", "minicpm3", "nanochat", "deepseek_v32", "xglm", "nomic_bert"]
)
def test_auto_reads_families_that_have_no_backbone_of_their_own(family):
    row = _matrix.examine(family, ("eager",), fast=True)
    assert (row.plugin, row.verdicts["eager"].status) == ("auto", "accepted")


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("mamba", "it is recurrent"),
        ("rwkv", "it is recurrent"),
        ("openai-gpt", "causal mask"),
        ("deepseek_v4", "padding"),
        ("jamba", "left to right"),
        ("lfm2", "left to right"),
        ("falcon_h1", "left to right"),
    ],
)
def test_what_must_not_look_ahead_is_refused_with_the_reason(family, reason):
    verdict = _matrix.examine(family, ("eager",), fast=True).verdicts["eager"]
    assert verdict.status == "refused"
    assert reason in verdict.reason


def test_the_page_lists_every_family_with_its_backbone():
    page = rows_of_the_page()
    assert set(page) == set(_catalogue.families()), "run `ullme check-backbones --write docs/families.md`"
    assert {family: plugin for family, (plugin, _) in page.items()} == {f: _catalogue.reader(f) for f in page}
    assert page.keys().isdisjoint(_catalogue.not_text())


def test_the_page_says_yes_to_every_named_family_and_to_a_hundred_in_all():
    page = rows_of_the_page()
    assert [family for family in NAMED if "yes" not in page[family][1]] == []
    count = re.search(r"\*\*(\d+) of (\d+) families of language models are accepted", PAGE.read_text("utf-8"))
    assert count
    assert int(count[1]) >= 100


def test_every_row_without_a_yes_says_why():
    refused = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and "| yes |" not in line]
    rows = [line for line in refused if line.partition("|")[2].partition("|")[0].strip() in rows_of_the_page()]
    assert rows
    assert [line for line in rows if not re.split(r"(?<!\\)\|", line)[-2].strip()] == []


@pytest.mark.slow
def test_all_families_in_full_give_the_page(tmp_path, capsys):
    import argparse

    page = tmp_path / "families.md"
    args = argparse.Namespace(names=[], attn="eager,sdpa", fast=False, write=page, json=False)
    assert check_backbones.run(args) == 0
    capsys.readouterr()
    assert rows_of_the_page(page) == rows_of_the_page()


class TestTheSelfTestCanFail:
    """A family that does not do as it should is found out."""

    def test_a_missing_scale_of_logits(self, monkeypatch):
        from ullme_plugins.backbones.cohere import Cohere

        monkeypatch.setattr(Cohere, "logits", lambda self, config: None)
        verdict = _matrix.examine("cohere", ("eager",), fast=True).verdicts["eager"]
        assert verdict.status == "failed"
        assert "head(body) differs" in verdict.reason

    def test_masks_left_inside_the_layers(self, monkeypatch):
        from ullme_plugins.backbones.gpt_neo import GPTNeo

        monkeypatch.setattr(GPTNeo, "prepare", lambda self, body: None)
        verdict = _matrix.examine("gpt_neo", ("eager",), fast=True).verdicts["eager"]
        assert verdict.status == "refused"
        assert "does not let a token see the next one" in verdict.reason

    def test_a_changed_causal_result(self, monkeypatch):
        from ullme_plugins.backbones.llama import Llama

        def scale(self, body):
            body.layers[0].input_layernorm.weight.data *= 1.001

        monkeypatch.setattr(Llama, "prepare", scale)
        verdict = _matrix.examine("llama", ("sdpa",), fast=True).verdicts["sdpa"]
        assert (verdict.status, "not those of stock" in verdict.reason) == ("failed", True)

    def test_positions_that_padding_moves(self, monkeypatch):
        from ullme_plugins.backbones import _parts

        monkeypatch.setattr(_parts, "position_offset", lambda body: 0)
        verdict = _matrix.examine("roberta", ("eager",), fast=True).verdicts["eager"]
        assert (verdict.status, "differ from stock" in verdict.reason) == ("failed", True)

    def test_adapters_that_do_nothing(self, monkeypatch):
        from ullme_plugins.backbones import _parts

        monkeypatch.setattr(_parts, "lora_targets", lambda model, body: ".*dt_proj")
        row = _matrix.examine("jamba", ("eager",), fast=False)
        assert any("adapter weights get no gradient" in note for note in row.notes)
