"""From file to typed pipeline and back."""

from pathlib import Path

import pytest
from config_parts import FULL, MINIMAL, Average, Both, Past, registry
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ullme.config.load import dump_yaml, load_model, load_pipeline
from ullme.config.schema import ModelConfig, Pipeline
from ullme.config.slots import Slot, choices
from ullme.errors import ConfigError


def load(folder: Path, text: str, *overrides: str) -> Pipeline:
    path = folder / "my-run.yaml"
    path.write_text(text, "utf-8")
    return load_pipeline(path, overrides, registry())


def test_what_the_file_leaves_out_comes_from_the_index_and_the_file_name(tmp_path: Path) -> None:
    pipeline = load(tmp_path, MINIMAL)
    assert pipeline.output == Path("runs/my-run")
    assert pipeline.model.attention.embed.cls is Both
    assert pipeline.model.attention.generate.cls is Past
    assert pipeline.model.pooler.cls is Average
    assert pipeline.model.pooler.name == "parts:average"  # written so in the index: two distributions provide it
    assert pipeline.model.adapter is None
    assert pipeline.stages == []


@pytest.mark.parametrize(
    ("attention", "embed", "window", "generate"),
    [
        ("past", "past", None, "past"),
        ("{use: both, window: 4}", "both", 4, "past"),
        ("{embed: past, generate: both}", "past", None, "both"),
        ("{generate: both}", "both", None, "both"),
        ("{use: both, window: 4, generate: both}", "both", 4, "both"),
    ],
)
def test_short_forms_of_attention(
    tmp_path: Path, attention: str, embed: str, window: int | None, generate: str
) -> None:
    model = load(tmp_path, MINIMAL + f"  attention: {attention}\n").model
    assert (model.attention.embed.name, model.attention.generate.name) == (embed, generate)
    assert model.attention.embed.config.window == window


def test_a_choice_builds_its_component_and_knows_its_origin(tmp_path: Path) -> None:
    pipeline = load(tmp_path, FULL)
    pooler = pipeline.model.pooler
    assert pooler.build().config.heads == 4
    assert (pooler.kind, pooler.name, pooler.record.dist, pooler.record.version) == ("pooler", "heads", "parts", "1.0")


def test_choices_are_all_found_also_inside_plugins(tmp_path: Path) -> None:
    names = [choice.name for choice in choices(load(tmp_path, FULL))]
    model = ["family", "both", "past", "heads"]
    losses = ["contrast", "preference", "nested", "nested", "contrast", "preference"]
    assert names == [*model, "rows", *losses, "scorer", "folder"]


def test_resolved_yaml_reads_back_to_an_equal_pipeline(tmp_path: Path) -> None:
    pipeline = load(tmp_path, FULL, "stages.0.losses.0=other:broken", "stages.0.losses.0=contrastive")
    text = dump_yaml(pipeline)
    (tmp_path / "resolved.yaml").write_text(text, "utf-8")
    again = load_pipeline(tmp_path / "resolved.yaml", registry=registry())
    assert again == pipeline
    assert dump_yaml(again) == text
    for written in ("use: contrast", "temperature: 0.05", "beta: 0.2", "output: runs/my-run", "pool: true", "1e-4"):
        assert written in text
    assert "vars" not in text
    assert "&" not in text.replace("$", "")
    assert pipeline.model.prompts == {"query": "cost: ${x} or 1e-4"}


PROMPTS = st.dictionaries(st.text(max_size=5), st.text("ab${}:#1e-4 \n'\"\u2028\x85", max_size=12), max_size=4)


@settings(max_examples=40, deadline=None)
@given(prompts=PROMPTS, lr=st.floats(1e-12, 1e6), clip=st.none() | st.floats(1e-6, 1e6), decay=st.floats(0, 1e300))
def test_any_values_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str], lr: float, clip: float | None, decay: float
) -> None:
    folder = tmp_path_factory.mktemp("round")
    trainer = {"max_steps": 1, "batch_size": 1, "lr": lr, "grad_clip": clip, "weight_decay": decay}
    stage = {"name": "a", "data": {"use": "rows", "path": "x"}, "losses": ["contrast"], "trainer": trainer}
    model = {"backbone": {"use": "family"}, "pooler": "other:average", "prompts": prompts}
    first = load(folder, dump_yaml({"model": model, "stages": [stage]}))
    assert first.model.prompts == prompts
    assert first.stages[0].trainer.lr == lr
    assert first.stages[0].trainer.grad_clip == clip
    assert load(folder, dump_yaml(first)) == first


def test_python_dump_validates_back(tmp_path: Path) -> None:
    pipeline = load(tmp_path, FULL)
    assert Pipeline.model_validate(pipeline.model_dump(), context=registry()) == pipeline
    assert Pipeline.model_validate(pipeline.model_dump(mode="json"), context=registry()) == pipeline


def test_model_section_alone(tmp_path: Path) -> None:
    pipeline = load(tmp_path, FULL)
    path = tmp_path / "model.yaml"
    path.write_text(dump_yaml({"model": pipeline.model.model_dump(mode="json")}), "utf-8")
    assert load_model(path, registry=registry()) == pipeline.model
    assert load_model(pipeline.model.model_dump(), registry=registry()) == pipeline.model
    moved = load_model(path, {"backbone": {"path": "elsewhere"}}, registry())
    assert moved.backbone.config.path == "elsewhere"
    assert moved.backbone.config.dtype == "bfloat16"
    assert moved.pooler == pipeline.model.pooler


def test_mistakes_in_a_model_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model section model.backbone.pth: unknown key. Did you mean 'path'\?"):
        load_model({"backbone": {"use": "family", "pth": "x"}}, registry=registry())
    with pytest.raises(ConfigError, match=r"changes to the model section model.max_tokens: expected a number above 0"):
        load_model({"backbone": "family"}, {"max_tokens": 0}, registry())
    path = tmp_path / "model.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=r"model.yaml:1:1 model: this key is missing"):
        load_model(path, registry=registry())


def test_a_config_cannot_change(tmp_path: Path) -> None:
    pipeline = load(tmp_path, FULL)
    with pytest.raises(ValueError, match="frozen"):
        pipeline.seed = 1
    with pytest.raises(ValueError, match="frozen"):
        pipeline.stages[0].losses[1].config.beta = 1.0


def test_a_slot_says_what_it_needs() -> None:
    with pytest.raises(TypeError, match="context=registry"):
        ModelConfig.model_validate({"backbone": "family"})
    with pytest.raises(TypeError, match=r"Slot\('loos'\): no such kind"):
        Slot("loos")


@pytest.mark.parametrize(
    "text",
    ["pytest", "pytest>=1", "PyTest >= 1.0 ; python_version > '3'", "absent-dist ; python_version < '3'"],
)
def test_requirements_that_hold(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, MINIMAL + f'requires: ["{text}"]\n').requires == [text]


def test_schema_generation_is_total() -> None:
    fields = TypeAdapter(Pipeline).json_schema()["$defs"]
    for name in (
        "AdapterConfig",
        "AttentionConfig",
        "ModelConfig",
        "Span",
        "StageConfig",
        "TemplateConfig",
        "TrainerConfig",
    ):
        for key, field in fields[name]["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"
