"""The typed pipeline: what a YAML file may say, section by section."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from ullme.config.requires import satisfied
from ullme.config.section import Section
from ullme.config.slots import Choice, Slot, refused
from ullme.config.template import Span, TemplateConfig

__all__ = ["ModelConfig", "Pipeline", "Span", "StageConfig", "TemplateConfig"]


_Fraction = Annotated[float, Field(ge=0, lt=1)]


class AdapterConfig(Section):
    """Weights trained instead of the model's own, and trained ones to fold in or to start from."""

    method: Literal["lora", "dora", "rslora", "bitfit", "full"] = Field(
        "lora", description="DoRA splits size and direction; rsLoRA scales by 1/sqrt(r); bitfit trains biases, full all"
    )
    r: int = Field(16, gt=0, description="rank")
    alpha: float = Field(32, gt=0, description="scale: the update is multiplied by alpha / r")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout on the input of the adapter; default beside `path`: as it was trained"
    )
    targets: str | list[str] = Field("all-linear", description="names of layers, or a regular expression of them")
    merge: list[str] = Field([], description="trained adapters (paths or hub ids) folded into the weights, in order")
    path: str | None = Field(
        None, description="a trained adapter to start from, with its own method, rank, scale and targets"
    )
    tasks: list[str] = Field([], description="names of adapters that share the base, one per task; empty: one for all")
    route: dict[str, str] = Field(
        {}, description="role (query, document) or mteb task -> name in `tasks`; `default` serves the rest"
    )

    @field_validator("targets")
    @classmethod
    def _compiles(cls, targets: str | list[str]) -> str | list[str]:
        if isinstance(targets, str):
            try:
                re.compile(targets)
            except re.error as error:
                raise ValueError(f"expected a regular expression: {error}") from None
        return targets

    @field_validator("tasks")
    @classmethod
    def _names_of_adapters(cls, tasks: list[str]) -> list[str]:
        for index, name in enumerate(tasks):
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name) or name == "default" or "lora_" in name:
                said = "expected letters, digits, - and _, neither `default` nor with `lora_` in it"
                raise refused((index,), f"{name!r} cannot name an adapter: {said}", name)
            if name in tasks[:index]:
                raise refused((index,), f"{name!r} is listed twice", name)
        return tasks

    @model_validator(mode="after")
    def _routes_exist(self) -> Self:
        for role, name in self.route.items():
            if name not in self.tasks:
                found = ", ".join(self.tasks) or "none"
                raise ValueError(f"route {role!r} leads to {name!r}, which is no entry of `tasks`: {found}")
        if self.method in ("bitfit", "full") and (self.tasks or self.path):
            raise ValueError(f"`method: {self.method}` trains the model's own weights: it has no `tasks` and no `path`")
        return self


class AttentionConfig(Section):
    """Who may attend to whom when embedding and when scoring. Short form: the attention for embedding."""

    model_config = ConfigDict(json_schema_extra={"x-ullme-short": "attention"})

    embed: Annotated[Choice, Slot("attention", "embed")] = Field(None, validate_default=True, description="for vectors")
    generate: Annotated[Choice, Slot("attention", "generate")] = Field(
        None, validate_default=True, description="for likelihoods"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_choice(cls, value: Any) -> Any:
        if isinstance(value, (str, Choice)):
            return {"embed": value}
        if not isinstance(value, Mapping) or "use" not in value:
            return value
        if "embed" in value:
            raise ValueError("give either `use` or `embed`: both choose the attention for embedding")
        generate = {"generate": value["generate"]} if "generate" in value else {}
        return {"embed": {key: field for key, field in value.items() if key != "generate"}, **generate}


class ModelConfig(Section):
    """An embedder: a backbone, and how its states become a vector."""

    backbone: Annotated[Choice, Slot("backbone")] = Field(description="the family of models, and where its weights are")
    attention: AttentionConfig = Field(default={}, validate_default=True, description="attention modes")
    pooler: Annotated[Choice, Slot("pooler", "pooler")] = Field(
        None, validate_default=True, description="token states to one vector"
    )
    heads: list[Annotated[Choice, Slot("head")]] = Field([], description="what is done to a pooled vector, in order")
    adapter: AdapterConfig | None = Field(None, description="LoRA and its kin; without it all weights train")
    template: TemplateConfig | None = Field(None, description="span templates; default: the tokenizer's own format")
    prompts: dict[str, str] = Field({}, description="instruction per role (query, document) or task name")
    normalize: bool = Field(True, description="whether vectors have length 1")
    similarity: Literal["cosine", "dot"] = Field("cosine", description="how vectors are meant to be compared")
    dimensions: int | None = Field(None, gt=0, description="leading dimensions kept; default: all")
    max_tokens: int = Field(512, gt=0, description="tokens kept of a text")


class TrainerConfig(Section):
    """One stage's optimisation: AdamW with a cached-gradient step."""

    max_steps: int = Field(gt=0, description="optimiser steps of this stage")
    batch_size: int = Field(gt=0, description="queries per step")
    max_tokens: int | None = Field(None, gt=0, description="tokens per text; default: the model's max_tokens")
    lr: float = Field(2e-4, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises from 0")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="learning rate after warm-up")
    betas: tuple[_Fraction, _Fraction] = Field((0.9, 0.999), description="AdamW's averaging coefficients")
    grad_clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: no clipping")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="as Lightning takes it")
    chunk_tokens: int = Field(2048, gt=0, description="padded tokens per model call: bounds memory, not the batch")
    head_rows: int = Field(256, gt=0, description="target tokens per call of the language-model head")
    likelihood_fraction: float = Field(
        1.0, gt=0, le=1, description="seeded fraction of a batch's queries whose likelihoods are computed"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    checkpoint_every: int = Field(10, gt=0, description="steps between checkpoints")
    accelerator: str = Field(
        "auto", description="the one device to train on, as Lightning's Trainer takes it: cpu, gpu, auto ..."
    )


class StageConfig(Section):
    """One stage of training: data, losses and their optimisation."""

    name: str = Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", description="unique in the pipeline; lower case and hyphens")
    data: Annotated[Choice, Slot("source")] = Field(description="where training rows come from")
    losses: list[Annotated[Choice, Slot("loss")]] = Field(min_length=1, description="summed by their weights")
    trainer: TrainerConfig = Field(description="optimisation of this stage")


class Pipeline(Section):
    """A whole run: model, training stages, evaluation, export."""

    seed: int = Field(0, ge=0, description="of adapters' initial weights, order of data and dropout")
    requires: list[Annotated[str, AfterValidator(satisfied)]] = Field(
        [], description='distributions that must be installed, such as "ullme-focal>=0.3"'
    )
    model: ModelConfig = Field(description="the embedder")
    stages: list[StageConfig] = Field([], description="training stages, in order")
    evaluate: list[Annotated[Choice, Slot("evaluator")]] = Field([], description="evaluators, before or after training")
    export: list[Annotated[Choice, Slot("exporter")]] = Field([], description="formats to write the trained model in")
    hooks: list[Annotated[Choice, Slot("hook")]] = Field([], description="lifecycle hooks; only those listed are run")
    output: Path = Field(Path("runs/pipeline"), description="results; default: runs/ and the file's name")

    @field_validator("export")
    @classmethod
    def _distinct_folders(cls, export: list[Choice]) -> list[Choice]:
        taken = {"stages", "before", "after", "models"}
        for index, choice in enumerate(export):
            folder = choice.config.folder or choice.name
            if folder in taken:
                raise refused((index,), f"folder {folder!r} below the output is taken; give another `folder:`", folder)
            taken.add(folder)
        return export

    @field_validator("stages")
    @classmethod
    def _distinct_names(cls, stages: list[StageConfig]) -> list[StageConfig]:
        first: dict[str, int] = {}
        for index, stage in enumerate(stages):
            if stage.name in first:
                message = f"stages.{first[stage.name]} is called {stage.name!r} too; every stage needs its own name"
                raise refused((index, "name"), message, stage.name)
            first[stage.name] = index
        return stages
