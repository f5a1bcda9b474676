"""Presets: found without importing anything, laid under a model section, base of a whole file; and their mistakes."""

from pathlib import Path
from typing import Any

import pytest
from config_parts import registry

from ullme.config.compose import compose
from ullme.config.jsonschema import build
from ullme.config.load import dump_yaml, load_model, load_pipeline
from ullme.config.presets import check, load_preset
from ullme.errors import ConfigError, PluginLoadError, PluginRefused, UnknownPlugin
from ullme.plugins.discovery import PluginRecord
from ullme.plugins.index import Index, IndexEntry
from ullme.plugins.lock import snapshot
from ullme.plugins.registry import Registry

FILES = {
    "small": """\
about: {summary: a small one, sources: ["https://example.org/small"], notes: [a note]}
model:
  backbone: {use: family, path: org/small, revision: abc}
  pooler: {use: heads, heads: 2}
  prompts: {query: "find: "}
  max_tokens: 30
as-published:
  note: a paper ran it without its prompt
  model: {prompts: {query: ""}, max_tokens: 20}
""",
    "recipe": """\
extends: _shared.yaml
about: {summary: with a recipe, sources: ["https://example.org/recipe"]}
model: {adapter: {r: 4}}
vars: {steps: 5}
stages:
  - name: one
    data: ${vars.data}
    losses: [contrast]
    trainer: {max_steps: "${vars.steps}", batch_size: 4}
""",
    "_shared": "model: {attention: past, backbone: {use: family, path: org/base}}\n",
    "big": 'about: {summary: big, sources: ["x"]}\nmodel: {preset: small, backbone: {path: org/big}, max_tokens: 99}\n',
    "loop": 'about: {summary: loops, sources: ["x"]}\nmodel: {preset: pool}\n',
    "pool": 'about: {summary: loops, sources: ["x"]}\nmodel: {preset: loop}\n',
    "broken": "about: {summary: broken\n",
    "vague": "about: {summry: no}\nmodel: {backbone: {use: family, path: x}}\nas-published: {modl: {}}\n",
    "wrong": 'about: {summary: w, sources: ["x"]}\nmodel:\n  backbone: {use: family, path: x}\n  max_tokens: none\n',
}


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of the small plugins, with presets of the distribution `acme` whose package cannot be imported."""
    folder = tmp_path / "site" / "acme_presets" / "inner"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").write_text("raise SystemExit('a preset was imported')\n")
    for name, text in FILES.items():
        (folder / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plain = registry()
    target = "acme_presets.inner"
    records = [PluginRecord("preset", n, "acme", "2.0", f"{target}:{n}") for n in FILES if not n.startswith("_")]
    records.append(PluginRecord("preset", "absent", "acme", "2.0", f"{target}:absent"))
    records.append(PluginRecord("preset", "lost", "acme", "2.0", "no_such_package:lost"))
    records.append(PluginRecord("preset", "old", "acme", "2.0", f"{target}:small", problem="needs ullme>=99"))
    aliased = IndexEntry("preset", "small", "acme", "a small one", aliases=("tiny",))
    elsewhere = IndexEntry("preset", "far", "ullme-far", "known, not installed")
    entries = (*plain.index.entries, aliased, elsewhere)
    return Registry([*plain.records, *records], Index(entries, plain.index.defaults))


@pytest.fixture
def composed(tmp_path: Path, known: Registry) -> Any:
    """A function giving the value of a file with presets in place."""

    def make(text: str, *overrides: str, **files: str) -> Any:
        for name, content in {**files, "main": text}.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        document = compose(tmp_path / "main.yaml", overrides, known)
        assert document.problems == []
        return document.root.plain()

    return make


def refused(folder: Path, known: Registry, text: str, *overrides: str) -> str:
    (folder / "main.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(folder / "main.yaml", overrides, known)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_preset_is_laid_under_the_own_keys(composed: Any) -> None:
    model = composed("model: {preset: small, pooler: {heads: 3}, max_tokens: 7}\n")["model"]
    assert model == {
        "backbone": {"use": "family", "path": "org/small", "revision": "abc"},
        "pooler": {"use": "heads", "heads": 3},
        "prompts": {"query": "find: "},
        "max_tokens": 7,
    }


def test_another_plugin_replaces_that_of_the_preset(composed: Any) -> None:
    assert composed("model: {preset: small, pooler: average}\n")["model"]["pooler"] == {"use": "average"}


def test_the_published_setting_is_laid_over_the_official_one(composed: Any) -> None:
    official = composed("model: {preset: small, setting: official}\n")["model"]
    assert official == composed("model: {preset: small}\n")["model"]
    published = composed("model: {preset: small, setting: as-published}\n")["model"]
    assert published == official | {"prompts": {"query": ""}, "max_tokens": 20}
    assert composed("model: {preset: small, setting: as-published, max_tokens: 5}\n")["model"]["max_tokens"] == 5


def test_several_presets_are_merged_in_order(composed: Any) -> None:
    model = composed("model: {preset: [recipe, small]}\n")["model"]
    assert model["backbone"] == {"use": "family", "path": "org/small", "revision": "abc"}
    assert model["attention"] == "past"
    assert model["adapter"] == {"r": 4}
    published = composed("model: {preset: [recipe, small], setting: as-published}\n")["model"]
    assert published["max_tokens"] == 20


def test_a_preset_may_stand_on_another(composed: Any) -> None:
    model = composed("model: {preset: big}\n")["model"]
    assert model["backbone"] == {"use": "family", "path": "org/big"}  # the revision was one of the other repository
    assert model["max_tokens"] == 99
    assert model["prompts"] == {"query": "find: "}


def test_a_revision_goes_with_the_path_that_it_pins(composed: Any) -> None:
    def backbone(own: str, *overrides: str) -> Any:
        return composed(f"model: {{preset: small, backbone: {{{own}}}}}\n", *overrides)["model"]["backbone"]

    assert backbone("path: org/other") == {"use": "family", "path": "org/other"}
    assert backbone("path: org/small")["revision"] == "abc"
    assert backbone("path: org/other, revision: def")["revision"] == "def"
    assert backbone("", "model.backbone.path=org/other") == {"use": "family", "path": "org/other"}
    pinned = "path: org/mine, revision: def"
    assert backbone(pinned, "model.backbone.path=org/other") == {"use": "family", "path": "org/other"}
    assert backbone(pinned, "model.backbone.revision=main")["revision"] == "main"


@pytest.mark.parametrize("name", ["tiny", "acme:small", "SMALL", "${vars.which}"])
def test_names_resolve_as_those_of_plugins_do(composed: Any, name: str) -> None:
    value = composed(f'vars: {{which: small}}\nmodel: {{preset: "{name}"}}\n')
    assert value["model"]["max_tokens"] == 30


def test_overrides_choose_a_preset_and_change_what_it_gives(composed: Any) -> None:
    text = "model: {preset: big, max_tokens: 1}\n"
    value = composed(text, "model.preset=small", "model.pooler.heads=9", "model.setting=as-published")
    assert value["model"]["pooler"] == {"use": "heads", "heads": 9}
    assert value["model"]["prompts"] == {"query": ""}
    assert value["model"]["max_tokens"] == 1
    assert composed(text, "model.max_tokens=2", "model={preset: small}")["model"]["max_tokens"] == 30


def test_a_base_file_may_name_the_preset_and_another_replaces_it(composed: Any) -> None:
    base = "model: {preset: big, max_tokens: 4}\n"
    assert composed("extends: base.yaml\n", base=base)["model"]["backbone"]["path"] == "org/big"
    value = composed("extends: base.yaml\nmodel: {preset: recipe}\n", base=base)["model"]
    assert value["backbone"] == {"use": "family", "path": "org/base"}
    assert value["max_tokens"] == 4


RECIPE = "extends: preset:recipe\nvars: {data: {use: rows, path: a}, steps: 7}\n"


def test_a_recipe_is_the_base_of_a_whole_file(composed: Any, tmp_path: Path, known: Registry) -> None:
    value = composed(RECIPE)
    assert set(value) == {"model", "stages"}
    assert value["model"]["adapter"] == {"r": 4}
    assert value["stages"][0]["trainer"]["max_steps"] == 7
    pipeline = load_pipeline(tmp_path / "main.yaml", (), known)
    assert pipeline.stages[0].data.config.path == "a"
    over = composed(
        RECIPE.replace("preset:recipe", "[preset:recipe, preset:small]") + "model: {setting: as-published}\n"
    )
    assert over["model"]["backbone"]["path"] == "org/small"
    assert over["model"]["max_tokens"] == 20
    assert over["model"]["attention"] == "past"


def test_the_resolved_file_holds_the_section_and_no_name(composed: Any, tmp_path: Path, known: Registry) -> None:
    (tmp_path / "main.yaml").write_text("model: {preset: small, setting: as-published}\n")
    pipeline = load_pipeline(tmp_path / "main.yaml", (), known)
    (tmp_path / "again.yaml").write_text(dump_yaml(pipeline))
    assert "preset" not in (tmp_path / "again.yaml").read_text()
    assert load_pipeline(tmp_path / "again.yaml", (), registry()).model == pipeline.model


def test_a_section_given_as_a_mapping_may_name_a_preset(known: Registry) -> None:
    model = load_model({"preset": "small", "normalize": False}, {"backbone": {"path": "here"}, "max_tokens": 8}, known)
    assert (model.backbone.config.path, model.backbone.config.revision) == ("here", None)
    assert (model.max_tokens, model.normalize) == (8, False)


def test_only_what_is_named_is_read(composed: Any) -> None:
    # `broken` and `vague` lie beside it and would raise.
    assert composed("model: {preset: small}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: {preset: smal}\n",
            "main.yaml:1:17 model.preset: no preset named 'smal' is installed. Did you mean 'small'?",
        ),
        ("model: {preset: far}\n", "preset 'far' is known but not installed.\n  pip install ullme-far"),
        ("model: {preset: [small, 3]}\n", "main.yaml:1:17 model.preset: expected the name of a preset, or a list"),
        ("model: {preset: {use: small}}\n", "main.yaml:1:17 model.preset: expected the name of a preset, or a list"),
        ("model: {preset: []}\n", "main.yaml:1:17 model.preset: expected the name of a preset, or a list"),
        (
            "model: {preset: big, setting: as-published}\n",
            "main.yaml:1:31 model.setting: big has no setting 'as-published'",
        ),
        (
            "model: {preset: small, setting: published}\n",
            "there is no setting 'published'. Did you mean 'as-published'?",
        ),
        ("model: {setting: official}\n", "main.yaml:1:18 model.setting: `setting` says how a preset is set"),
        ("model: {preset: loop}\n", "model.preset: presets name each other in a cycle: loop -> pool -> loop"),
        ("model: {preset: absent}\n", "its file is missing"),
        ("model: {preset: lost}\n", "there is no package 'no_such_package'"),
        ("model: {preset: old}\n", "needs ullme>=99"),
        ("model: {preset: broken}\n", "broken.yaml:1:8 not valid YAML"),
        ("model: {preset: wrong}\n", "wrong.yaml:4:15 model.max_tokens: expected a whole number, found 'none'"),
        ("extends: preset:smal\n", "main.yaml:1:10 extends: no preset named 'smal' is installed"),
        ("extends: preset:recipe\n", "recipe.yaml:7:11 stages.0.data: ${vars.data}: no 'data' is written there"),
        ("model: {prset: small}\n", "main.yaml:1:9 model.prset: unknown key. Did you mean 'preset'?"),
    ],
)
def test_mistakes_are_named_where_they_stand(tmp_path: Path, known: Registry, text: str, message: str) -> None:
    assert message in refused(tmp_path, known, text)


def test_an_override_that_names_no_preset_is_quoted(tmp_path: Path, known: Registry) -> None:
    found = refused(tmp_path, known, "model: {preset: small}\n", "model.preset=smal")
    assert found.startswith("--set model.preset=smal: no preset named 'smal'")


def test_the_file_is_found_and_nothing_is_imported(known: Registry) -> None:
    assert known.file("preset", "tiny").name == "small.yaml"
    for name, error in (("absent", PluginLoadError), ("old", PluginRefused), ("smal", UnknownPlugin)):
        with pytest.raises(error):
            known.file("preset", name)
    with pytest.raises(TypeError, match="is data"):
        known.load("preset", "small")


def test_a_preset_read_for_its_own_sake(known: Registry) -> None:
    preset = load_preset("small", known)
    assert preset.about.summary == "a small one"
    assert preset.model["max_tokens"] == 30
    assert preset.published is not None
    assert preset.published.model["max_tokens"] == 20
    assert load_preset("recipe", known).recipe["vars"] == {"steps": 5}
    with pytest.raises(
        ConfigError, match=r"vague.yaml:1:9 about.summry: unknown key. Did you mean 'summary'"
    ) as caught:
        load_preset("vague", known)
    assert "about.sources: this key is missing" in str(caught.value)


def test_check_finds_what_cannot_be_used(known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullme.plugins.registry.Registry", lambda: known)
    records = {record.name: record for record in known.records if record.kind == "preset"}
    check(records["small"])
    for name in ("broken", "vague", "wrong", "absent"):
        with pytest.raises((ConfigError, PluginLoadError)):
            check(records[name])


def test_the_schema_knows_the_names(known: Registry) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema, _ = build(known)
    validator = jsonschema.Draft202012Validator(schema)

    def errors(value: Any) -> list[str]:
        return [error.message for error in validator.iter_errors(value)]

    for good in ("small", "tiny", "acme:small", ["small", "recipe"], "${vars.p}"):
        assert errors({"model": {"preset": good, "setting": "as-published", "pooler": {"heads": 2}}}) == []
    assert errors({"model": {"preset": "smal"}})
    assert errors({"model": {"preset": []}})
    assert errors({"model": {"preset": "small", "setting": "other"}})
    assert errors({"model": {"pooler": "average"}}), "a file without a preset must name its backbone"


def test_the_lock_has_a_row_for_a_preset_like_any_other(known: Registry) -> None:
    (row,) = snapshot([known.resolve("preset", "small")]).plugins
    assert row["kind"] == "preset"
    assert row["target"] == "acme_presets.inner:small"
