"""Reading a folder back with transformers alone, as its card says: stock model, tokenizer, pooling, layers, norm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme import AssetError, quiet_transformers
from ullme_plugins.exporters._folder import about
from ullme_plugins.exporters._texts import as_read

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class StockReader:
    """Vectors from the stock classes of transformers. Raises AssetError for weights that the folder lacks."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        found = about(folder)
        if found is None:
            raise AssetError(f"{folder}: no ullme.json there: expected a folder that ullme has exported")
        self.plan: dict[str, Any] = found["reading"]
        try:
            with quiet_transformers():
                self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
                model, loading = AutoModel.from_pretrained(
                    str(folder), output_loading_info=True, use_safetensors=True, **self.plan["model_kwargs"]
                )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise AssetError(f"{folder}: {str(error).strip().splitlines()[0]}") from error
        if missing := sorted(loading["missing_keys"]):
            raise AssetError(f"{folder}: {len(missing)} weights are missing (such as {missing[0]})")
        self.model: nn.Module = model.eval().to(device or "cpu")
        self.layers = [layer.to(device or "cpu") for layer in _dense(folder)]

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        """Vectors [n, d], in batches of eight."""
        import torch

        prompt = self.plan["prompts"].get(role, self.plan["prompts"]["default"])
        limit = self.plan["max_lengths"].get(role, self.plan["max_length"])
        made = [as_read(self.tokenizer, prompt, text, limit, self.plan["include_prompt"]) for text in texts]
        with torch.inference_mode():
            batches = [self._batch(made[start : start + 8]) for start in range(0, len(made), 8)]
        vectors: np.ndarray = torch.cat(batches).float().cpu().numpy()
        return vectors

    def _batch(self, made: Sequence[tuple[list[int], list[bool]]]) -> Tensor:
        import torch

        width = max(len(ids) for ids, _ in made)
        device = next(self.model.parameters()).device
        filler = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(made), width), filler, device=device)
        mask, pool = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, (tokens, marks) in enumerate(made):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            pool[row, : len(tokens)] = torch.tensor(marks, dtype=torch.long)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        vectors = pooled(states, pool, self.plan["pooling"])
        for layer in self.layers:
            vectors = layer(vectors)
        return torch.nn.functional.normalize(vectors, dim=-1) if self.plan["normalize"] else vectors


def pooled(states: Tensor, pool: Tensor, how: str) -> Tensor:
    """[n, T, d] and marks [n, T], padding on the right, to [n, d], as sentence-transformers defines its modes."""
    import torch

    rows = torch.arange(len(states), device=states.device)
    places = torch.arange(1, states.shape[1] + 1, device=states.device)
    if how == "cls":
        return states[rows, pool.argmax(1)]
    if how == "lasttoken":
        return states[rows, (pool * places).argmax(1)]
    if how == "max":
        return states.masked_fill(pool.unsqueeze(-1) == 0, float("-inf")).amax(1)
    weights = (pool * places if how == "weightedmean" else pool).unsqueeze(-1).float()
    total = weights.sum(1)
    return (states * weights).sum(1) / (total.sqrt() if how == "mean_sqrt_len_tokens" else total)


def _dense(folder: Path) -> list[nn.Module]:
    """The dense layers that modules.json lists, if there is one."""
    from importlib import import_module

    from safetensors.torch import load_file
    from torch import nn

    if not (folder / "modules.json").is_file():
        return []
    layers: list[nn.Module] = []
    for module in json.loads((folder / "modules.json").read_text("utf-8")):
        if module["type"].endswith(".Dense"):
            place = folder / module["path"]
            config = json.loads((place / "config.json").read_text("utf-8"))
            package, _, name = config["activation_function"].rpartition(".")
            if package.partition(".")[0] != "torch":
                raise AssetError(f"{place}: activation {config['activation_function']} is not torch's")
            linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
            linear.load_state_dict(
                {key.removeprefix("linear."): value for key, value in load_file(place / "model.safetensors").items()}
            )
            layers += [linear.float(), getattr(import_module(package), name)()]
    return layers
