"""What a user reads after a mistake: golden files, rewritten with ULLME_UPDATE_GOLDEN=1."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest
from config_parts import MINIMAL, registry

from ullme.config.load import load_pipeline
from ullme.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden"

STAGE = """\
stages:
  - name: one
    data: {use: rows, path: a.jsonl}
    losses:
      - use: contrast
        temprature: 0.05
      - {use: preference, beta: -1, smoothing: {lable: 0.1}}
      - absent
      - contrst
      - {use: "other:broken"}
      - {weight: 2}
      - use: nested
        inner: {use: nested, inner: {use: preference, bta: 1}}
        others: [4]
    trainer: {batch_size: 4}
"""

CASES: dict[str, tuple[str, list[str]]] = {
    "plugins_and_their_keys": (MINIMAL + STAGE, []),
    "top_level": ("sed: 3\nmodl: {}\nstages: {}\nhooks:\n", []),
    "wrong_types": (
        """\
seed: ten
model:
  backbone: {use: family, path: 3, dtype: float, sha256: abc, allow_pickle: perhaps}
  pooler: {use: heads, heads: 2.5}
  adapter: {r: 0, alpha: much, targets: {a: 1}, dropout: 1}
  prompts: [query]
  normalize: 3
  dimensions: "12x"
  max_tokens:
stages:
  - name: First Stage
    data: {use: rows, path: [a, b], fields: {query: 3}}
    losses: []
    trainer: {max_steps: 1e3, batch_size: 1.5, schedule: cosin, betas: [0.9], precision: 16, devices: [], lr: "fast"}
  - grl
evaluate: scorer
export: [null]
""",
        [],
    ),
    "unions": (
        MINIMAL
        + """\
  adapter: {targets: [query, 4]}
stages:
  - name: one
    data: {use: rows, path: a}
    losses:
      - {use: preference, layers: al}
      - {use: preference, layers: [1, two]}
      - {use: preference, layers: 0}
    trainer: {max_steps: 1, batch_size: 1}
""",
        [],
    ),
    "missing_keys": ("model: {}\nstages:\n  - name: one\n    data: rows\n    trainer:\n      lr: 1e-4\n", []),
    "templates": (
        MINIMAL
        + """\
  template:
    embed:
      query: ["{txt}", {pool: false}]
      document: [{text: "{text}", pool: false}]
    likelihood: ["{prefix}", "{target}"]
""",
        [],
    ),
    "stages_with_one_name": (
        MINIMAL
        + """\
stages:
  - {name: one, data: {use: rows, path: a}, losses: [contrast], trainer: {max_steps: 1, batch_size: 1}}
  - {name: two, data: {use: rows, path: a}, losses: [contrast], trainer: {max_steps: 1, batch_size: 1}}
  - {name: one, data: {use: rows, path: a}, losses: [contrast], trainer: {max_steps: 1, batch_size: 1}}
""",
        [],
    ),
    "attention": (MINIMAL + "  attention: {use: both, windw: 3, generate: pst}\n", []),
    "attention_twice": (MINIMAL + "  attention: {use: both, embed: past}\n", []),
    "ambiguous": (MINIMAL + "  pooler: average\n", []),
    "requires": (MINIMAL + 'requires: ["pytest>=999", ullme-nowhere, ">=1"]\n', []),
    "references": (
        """\
vars: {beta: ten, steps: "${env:ULLME_TEST_UNSET}"}
model:
  backbone: {use: family, path: "${vars.path}"}
  max_tokens: ${model.max_token}
  pooler: ${vars.beta}
stages:
  - name: one
    data: {use: rows, path: "${env:ULLME_TEST_UNSET}/rows"}
    losses: [{use: preference, beta: "${vars.beta}"}]
    trainer: {max_steps: "${vars.steps}", batch_size: "${stages.0.trainer.batch_size}"}
""",
        [],
    ),
    "overrides": (
        MINIMAL,
        [
            "sed=3",
            "model.backbone.pth=x",
            "model.max_tokens=ten",
            "model.adapter.rank.x=1",
            "stages=[{name: one}]",
            "seed",
            "evaluate.0=scorer",
        ],
    ),
    "not_yaml": ("a: 1\nseed: 1\nseed: 2\nmodel: {backbone: family\n", []),
    "duplicates_and_tags": (MINIMAL + "seed: 1\nseed: 2\noutput: !!python/name:os.sep x\n", []),
    "extends": ("extends: [base.yaml]\n" + MINIMAL, []),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, overrides = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_pipeline(Path("bad.yaml"), overrides, registry())
    golden = GOLDEN / f"config_{name}.txt"
    found = f"{caught.value}\n".replace(f"found {version('pytest')}", "found VERSION")
    if os.environ.get("ULLME_UPDATE_GOLDEN"):
        golden.write_text(found, "utf-8")
    assert found == golden.read_text("utf-8")


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("config_*.txt")} == {f"config_{name}" for name in CASES}


def test_a_mistake_in_a_parent_is_placed_in_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("model:\n  max_tokens: ten\n  bckbone: x\n")
    Path("top.yaml").write_text("extends: base.yaml\nmodel:\n  backbone: family\n  pooler: heads\n")
    with pytest.raises(ConfigError) as caught:
        load_pipeline("top.yaml", (), registry())
    heads = [line.split(": ")[0] for line in str(caught.value).splitlines() if ".yaml:" in line]
    assert heads == [
        "base.yaml:2:15 model.max_tokens",
        "base.yaml:3:3 model.bckbone",
        "top.yaml:4:3 model.pooler.heads",
    ]
