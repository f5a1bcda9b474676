"""Tiny random models on disk for every preset, with the adapters, dense layers and pooler weights that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preset_cases import Case
from preset_tokenizers import KINDS


def save_model(folder: Path, case: Case) -> Path:
    """A tiny model of the case's architecture with its tokenizer, as transformers saves them."""
    from ullme_plugins.backbones._tiny import tiny_config, tiny_model

    tokenizer = KINDS[case.kind]()
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 1024, **case.settings.get("config", {})}
    encoder = case.model in ("bert", "roberta", "xlm-roberta", "gte", "jina_embeddings_v3")
    kind = case.settings.get("kind", "AutoModel" if encoder else "AutoModelForCausalLM")
    model: Any = tiny_model(tiny_config(case.model, **settings), kind=kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def localised(section: dict[str, Any], model: Path, folder: Path) -> dict[str, Any]:
    """What to lay over a preset's section so that everything it names lies in `folder`, with random weights."""
    changes: dict[str, Any] = {
        "backbone": {"path": str(model), "revision": None, "dtype": "float32", "allow_pickle": False}
    }
    width = 64
    if heads := section.get("heads"):
        changes["heads"] = []
        for number, head in enumerate(heads):
            if isinstance(head, dict) and head.get("path"):
                dense = _dense(folder / f"dense-{number}", width, head)
                head, width = {**head, "path": str(dense), "revision": None}, head["out_features"]
            changes["heads"].append(head)
    pooler = section.get("pooler")
    if isinstance(pooler, dict) and pooler.get("path"):
        changes["pooler"] = {"path": str(_latents(folder / "pooler")), "revision": None}
    if adapter := section.get("adapter"):
        named = {name: str(_adapter(folder / name.rpartition("/")[2], model)) for name in adapter.get("merge", [])}
        changes["adapter"] = {"merge": list(named.values())} if named else {}
        if "path" in adapter:
            path = folder / adapter["path"].rpartition("/")[2]
            for task in adapter.get("tasks", [""]):
                _adapter(path / task, model)
            changes["adapter"]["path"] = str(path)
    return changes


def _dense(folder: Path, size: int, head: dict[str, Any]) -> Path:
    """As sentence-transformers saves a dense layer."""
    import json

    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"linear.weight": torch.randn(head["out_features"], size) / size**0.5}, folder / "model.safetensors")
    facts = {"in_features": size, "out_features": head["out_features"], "bias": False}
    facts["activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def _latents(folder: Path) -> Path:
    """Latent-attention weights under the names that NV-Embed gives them."""
    from safetensors.torch import save_file

    from ullme.plugins.registry import Registry

    cls = Registry().load("pooler", "latent-attention")
    weights = cls(cls.Config()).build(64).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"latent_attention_model.{name}": value for name, value in weights.items()}, folder / "model.safetensors"
    )
    return folder


def _adapter(folder: Path, model: Path) -> Path:
    """A LoRA adapter trained on the model without its head, as LLM2Vec's, RepLLaMA's and Jina's were."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    torch.manual_seed(len(folder.name))
    body = AutoModel.from_pretrained(model)
    adapted: Any = get_peft_model(body, LoraConfig(r=2, target_modules="all-linear"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(folder)
    return folder
