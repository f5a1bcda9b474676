"""The JSON Schema of what is installed: it accepts what the loader accepts, and names wrong keys."""

from pathlib import Path
from typing import Any

import pytest
from config_parts import FULL, MINIMAL, registry

from ullme.config.jsonschema import build
from ullme.config.load import dump_yaml, load_pipeline
from ullme.config.source import read

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def validator() -> Any:
    schema, _ = build(registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def errors(validator: Any, folder: Path, text: str) -> list[str]:
    (folder / "a.yaml").write_text(text, "utf-8")
    found = validator.iter_errors(read(folder / "a.yaml", []).plain())
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found)


def test_broken_plugins_are_left_out_and_named() -> None:
    schema, broken = build(registry())
    assert len(broken) == 1
    assert "no_such_module" in broken[0]
    assert "loss.other:broken" not in schema["$defs"]
    assert "loss.parts:contrast" in schema["$defs"]


def test_good_pipelines_are_accepted(validator: Any, tmp_path: Path) -> None:
    assert errors(validator, tmp_path, FULL) == []
    assert errors(validator, tmp_path, MINIMAL) == []
    resolved = dump_yaml(load_pipeline(tmp_path / "a.yaml", registry=registry()))
    assert errors(validator, tmp_path, resolved) == []


def test_references_and_extends_are_accepted(validator: Any, tmp_path: Path) -> None:
    text = """\
extends: [base.yaml]
vars: {a: 1}
seed: ${vars.a}
model:
  backbone: {dtype: "${env:DTYPE:-float32}"}
  pooler: ${vars.pooler}
  attention: ${vars.attention}
  adapter: ${vars.adapter}
stages:
  - name: a
    data: {use: "${vars.source}"}
    losses: ["${vars.loss}", {use: contrast, temperature: "${vars.t}"}]
    trainer: ${vars.trainer}
evaluate: ${vars.evaluate}
"""
    assert errors(validator, tmp_path, text) == []


@pytest.mark.parametrize(
    "attention", ["past", "{use: both, window: 3}", "{generate: past}", "{use: both, generate: past}"]
)
def test_short_forms_are_accepted(validator: Any, tmp_path: Path, attention: str) -> None:
    assert errors(validator, tmp_path, MINIMAL + f"  attention: {attention}\n") == []


@pytest.mark.parametrize("use", ["contrast", "contrastive", "parts:contrast"])
@pytest.mark.parametrize("key", ["temperature", "temprature"])
def test_every_spelling_of_a_name_has_its_fields(validator: Any, tmp_path: Path, use: str, key: str) -> None:
    text = (
        MINIMAL
        + f"evaluate: []\nstages: [{{name: a, data: {{use: rows, path: x}}, losses: [{{use: '{use}', {key}: 1}}]"
    )
    found = errors(validator, tmp_path, text + ", trainer: {max_steps: 1, batch_size: 1}}]\n")
    unexpected = "stages.0.losses.0: Additional properties are not allowed ('temprature' was unexpected)"
    assert found == ([] if key == "temperature" else [unexpected])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1\n" + MINIMAL, ": Additional properties are not allowed ('sed' was unexpected)"),
        ("seed: 1\n", ": 'model' is a required property"),
        ("model: {pooler: {use: heads, heads: 1}}\n", "model: 'backbone' is a required property"),
        ("model: {backbone: {path: x}}\n", "model.backbone: 'use' is a required property"),
        (
            MINIMAL + "  adapter: {rank: 3}\n",
            "model.adapter: Additional properties are not allowed ('rank' was unexpected)",
        ),
        (MINIMAL + "  max_tokens: ten\n", "model.max_tokens: 'ten' is not of type 'integer'"),
        (MINIMAL + "  pooler: {use: heads}\n", "model.pooler: 'heads' is a required property"),
        (MINIMAL + "  attention: {use: both, windw: 3}\n", "model.attention: Additional properties are not allowed"),
        (
            MINIMAL + "  template: {embed: {default: [{txt: x}]}}\n",
            "model.template.embed.default.0: Additional properties",
        ),
        (MINIMAL + "export: [foldr]\n", "export.0: 'foldr' is not one of ['folder', 'parts:folder']"),
        (MINIMAL + "export: [{}]\n", "export.0: 'use' is a required property"),
        # `average` is provided twice: only the qualified names may be written.
        (MINIMAL + "  pooler: average\n", "model.pooler: 'average' is not one of"),
    ],
)
def test_mistakes_are_named_where_they_stand(validator: Any, tmp_path: Path, text: str, message: str) -> None:
    found = errors(validator, tmp_path, text)
    assert any(line.startswith(message) for line in found), found


def test_every_plugin_is_described() -> None:
    schema, _ = build(registry())
    contrast = schema["$defs"]["loss.parts:contrast"]
    assert contrast["properties"]["use"]["description"] == "A loss with a setting."
    assert contrast["properties"]["temperature"]["description"] == "of the softmax"
    assert contrast["properties"]["temperature"]["default"] == 0.05
