"""What programs that read these folders are known to do otherwise. Versions are those that were looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ullme import Embedder
    from ullme_plugins.exporters._plan import Plan

VLLM = "vLLM 0.33"
TEI = "text-embeddings-inference 1.9"

VLLM_BIDIRECTIONAL = {
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_next",
    "gemma3",
    "gemma3_text",
    "apertus",
    "deepseek_v2",
    "deepseek_v3",
    "pangu",
}
"""Decoder families that vLLM runs as the config says; it runs the others causally and says nothing."""

TEI_BIDIRECTIONAL = {"llama", "mistral", "qwen2", "qwen3", "gemma3", "gemma3_text"}

SERVER_POOLING = {"cls", "lasttoken", "mean"}


def caveats(embedder: Embedder, found: Plan) -> list[str]:
    """One line for each thing that a reader by name does otherwise than the model."""
    family = embedder.loaded.body.config.model_type
    lines = []
    if found.attention.look_ahead:
        if family not in VLLM_BIDIRECTIONAL:
            lines.append(f"{VLLM} runs the family {family} with causal attention, silently: other vectors")
        if family not in TEI_BIDIRECTIONAL:
            lines.append(f"{TEI} has no bidirectional {family}: it refuses the model, or runs it with causal attention")
        lines.append(
            "transformers before 5.2, and with it infinity 0.0.78 and sentence-transformers before 5, run it with"
            " causal attention"
        )
    if found.pooling not in SERVER_POOLING:
        lines.append(f"{VLLM} and {TEI} know cls, last and mean pooling only, not {found.pooling}")
    if not found.include_prompt:
        lines.append(f"{VLLM} and {TEI} pool over the prompt too: other vectors for texts with a prompt")
    if any(found.texts.prompts.values()):
        lines.append(f"{VLLM} adds no prompt by itself, {TEI} one for all texts: send prompt and text as one string")
    if len(set(found.texts.limits.values())) > 1:
        lines.append(
            "whatever is not encode_query or encode_document of sentence-transformers cuts long texts at"
            f" {found.max_length} tokens, the prompt's counted"
        )
    return lines
