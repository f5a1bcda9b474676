"""README.md: what the model is, how it is used, what it was trained on, how it was measured, what to beware of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ullme import __version__
from ullme_plugins.exporters._run import Run, Stage, copy_results, read_run
from ullme_plugins.exporters._texts import as_read

if TYPE_CHECKING:
    from ullme import Embedder, ExportContext
    from ullme_plugins.exporters._plan import Plan

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(
    embedder: Embedder,
    found: Plan | None,
    folder: Path,
    context: ExportContext,
    caveats: Sequence[str],
    *,
    library: str,
) -> None:
    """README.md, and results/ where the run has any. `found` is None for the format that needs no plan."""
    run = read_run(context.run_dir)
    measured = copy_results(context.run_dir if run else None, folder / "results")
    parts = [
        _front_matter(embedder, run, library),
        _about(embedder, found, library),
        _usage(found, library, embedder),
        _training(run, embedder),
        _evaluation(run, measured),
        _beware(caveats, library),
        f"Made with [ullme](https://pypi.org/project/ullme/) {__version__}."
        " `ullme verify .` compares this copy, or any that is served, with `reference_embeddings.json`.\n",
    ]
    (folder / "README.md").write_text("\n".join(part for part in parts if part), "utf-8")


def _front_matter(embedder: Embedder, run: Run | None, library: str) -> str:
    tags = ["sentence-similarity", "feature-extraction", "ullme"]
    if library == "sentence-transformers":
        tags.insert(0, "sentence-transformers")
    data: dict[str, Any] = {"library_name": library, "pipeline_tag": "sentence-similarity", "tags": tags}
    if base := _base(embedder, run):
        data["base_model"] = base
    if index := _model_index(run):
        data["model-index"] = index
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n"


def _base(embedder: Embedder, run: Run | None) -> str | None:
    """The hub id of what the model was made from, if it is one."""
    section = run.pipeline["model"]["backbone"] if run else embedder.config.backbone.config.model_dump()
    path = section.get("path")
    return path if path and _HUB_ID.fullmatch(path) and not Path(path).exists() else None


def _model_index(run: Run | None) -> list[dict[str, Any]]:
    scores = [
        score
        for report in (run.reports if run else [])
        if report["when"] == "after"
        for score in report["scores"]
        if not score["model"] and isinstance(score["value"], float)
    ]
    results = [
        {
            "task": {"type": "feature-extraction"},
            "dataset": {"name": score["task"], "type": score["task"]},
            "metrics": [{"type": score["metric"], "value": score["value"]}],
        }
        for score in scores
    ]
    return [{"name": "model", "results": results}] if results else []


def _about(embedder: Embedder, found: Plan | None, library: str) -> str:
    config, loaded = embedder.config, embedder.loaded
    weights = sum(parameter.numel() for parameter in loaded.body.parameters())
    rows = {
        "architecture": f"{type(loaded.body).__name__}, {weights:,} weights",
        "attention": config.attention.embed.name,
        "pooling": config.pooler.name,
        "dimensions": f"{embedder.dimension}{' (cut from the front of a longer vector)' if config.dimensions else ''}",
        "vectors of length 1": "yes" if config.normalize else "no",
        "similarity": config.similarity,
        "longest input": f"{found.max_length if found else min(config.max_tokens, loaded.max_length)} tokens",
    }
    if config.adapter is not None:
        merged = " (merged into the weights; kept by itself in `adapter/`)" if found else ""
        rows["adapter"] = f"{config.adapter.method}, rank {config.adapter.r}{merged}"
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    text = "# Text-embedding model\n\n| | |\n|---|---|\n" + "\n".join(lines) + "\n"
    prompts = found.texts.prompts if found else config.prompts
    if any(prompts.values()):
        listed = "\n".join(f"| {name} | `{text!r}` |" for name, text in prompts.items() if text)
        text += f"\n## Prompts\n\nStand before the text.\n\n| for | prompt |\n|---|---|\n{listed}\n"
    return text


def _usage(found: Plan | None, library: str, embedder: Embedder) -> str:
    if library == "sentence-transformers" and found is not None:
        needs = ' "transformers>=5.2"' if found.attention.look_ahead else ""
        code = f"""pip install sentence-transformers{needs}
```
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH")
queries = model.encode_query(["what do sloths eat"])
documents = model.encode_document(["Sloths eat leaves, shoots and fruit."])
print(model.similarity(queries, documents))"""
    elif library == "transformers" and found is not None:
        code = "pip install transformers\n```\n```python\n" + _transformers_code(found)
    else:
        code = """pip install ullme
```
```python
from ullme import Embedder

model = Embedder.from_directory("PATH")
queries = model.encode(["what do sloths eat"], role="query")
documents = model.encode(["Sloths eat leaves, shoots and fruit."], role="document")
print(queries @ documents.T)"""
    return f"## Use\n\n```sh\n{code}\n```\n"


def _transformers_code(found: Plan) -> str:
    prompt = found.texts.prompts["query"]
    asked = "".join(f", {key}={value!r}" for key, value in found.model_kwargs.items())
    pooling = {
        "mean": "(states * pool).sum(1) / pool.sum(1)",
        "mean_sqrt_len_tokens": "(states * pool).sum(1) / pool.sum(1).sqrt()",
        "cls": "states[torch.arange(len(states)), pool.squeeze(-1).argmax(1)]",
        "lasttoken": "states[torch.arange(len(states)), (pool.squeeze(-1) * places).argmax(1)]",
        "max": 'states.masked_fill(pool == 0, float("-inf")).amax(1)',
        "weightedmean": "(states * pool * places[:, None]).sum(1) / (pool * places[:, None]).sum(1)",
    }[found.pooling]
    places = "places = torch.arange(1, states.shape[1] + 1)\n" if "places" in pooling else ""
    skip = ""
    if not found.include_prompt:
        _, pool = as_read(found.texts.tokenizer, prompt, "a", found.texts.limits["query"], False)
        skip = f"pool[:, : {pool.index(True)}] = 0  # the prompt is not pooled\n"
    norm = "vectors = torch.nn.functional.normalize(vectors, dim=-1)\n" if found.normalize else ""
    return f"""import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModel.from_pretrained("PATH"{asked}).eval()
texts = [{prompt!r} + text for text in ["what do sloths eat", "how long do they sleep"]]
batch = tokenizer(texts, padding=True, truncation=True, max_length={found.texts.limits["query"]}, return_tensors="pt")
with torch.no_grad():
    states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
pool = batch["attention_mask"].unsqueeze(-1).clone()
{skip}{places}vectors = {pooling}
{norm}print(vectors @ vectors.T)"""


def _training(run: Run | None, embedder: Embedder) -> str:
    if run is None:
        return "## Training\n\nNothing is recorded here of how the model was trained.\n"
    if not run.stages:
        return "## Training\n\nNone: the weights are the base model's.\n"
    backbone = run.pipeline["model"]["backbone"]
    lines = ["## Training", "", f"From `{backbone.get('path') or backbone['use']}`, in {_stages(len(run.stages))}.", ""]
    for stage in run.stages:
        lines += [*_stage(stage), ""]
    return "\n".join(lines)


def _stages(count: int) -> str:
    return "one stage" if count == 1 else f"{count} stages"


def _stage(stage: Stage) -> Iterator[str]:
    data, trainer = stage.section["data"], stage.section["trainer"]
    source = " ".join(str(data[key]) for key in ("path", "name", "packages", "parts") if data.get(key))
    rows = f"{stage.rows:,} rows" if stage.rows is not None else "rows not recorded"
    digest = f", sha256 `{stage.sha256[:16]}`" if stage.sha256 else ""
    yield f"### {stage.name}"
    yield ""
    yield f"- data: `{data['use']}` {f'`{source}` ' if source else ''}({rows}{digest})"
    yield "- losses: " + "; ".join(_settings(loss) for loss in stage.section["losses"])
    steps = stage.steps if stage.steps is not None else trainer["max_steps"]
    yield (
        f"- {steps} steps of {trainer['batch_size']} queries, learning rate {trainer['lr']:g} ({trainer['schedule']}),"
        f" {trainer['precision']}"
    )
    for name, (first, last) in stage.losses.items():
        yield f"- {name}: {first:.4f} at first, {last:.4f} at last"


def _settings(loss: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in loss.items() if key != "use" and value is not None)
    return f"{loss['use']} ({rest})" if rest else str(loss["use"])


def _evaluation(run: Run | None, measured: bool) -> str:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for report in run.reports if run else []:
        for score in report["scores"]:
            if score["model"] or not isinstance(score["value"], int | float):
                continue
            span = f" ({score['low']:.4g} to {score['high']:.4g})" if score["low"] is not None else ""
            rows.setdefault((score["task"], score["metric"]), {})[report["when"]] = f"{score['value']:.4g}{span}"
    if not rows:
        return "## Evaluation\n\nNot measured.\n"
    lines = ["## Evaluation", "", "| task | metric | before training | after |", "|---|---|---|---|"]
    lines += [
        f"| {task} | {metric} | {at.get('before', '')} | {at.get('after', '')} |" for (task, metric), at in rows.items()
    ]
    how = sorted({report["evaluator"] for report in run.reports}) if run else []
    lines += ["", f"By {', '.join(how)}{'; reports and single scores are in `results/`' if measured else ''}.", ""]
    return "\n".join(lines)


def _beware(caveats: Sequence[str], library: str) -> str:
    if not caveats:
        return ""
    return "## Other readers\n\n" + "\n".join(f"- {line}" for line in caveats) + "\n"
