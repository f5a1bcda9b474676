"""Which official usage, tokenizer and tiny model each preset is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import preset_official as official

QUERY = "why is the sky blue?"
DOCUMENT = "Rayleigh scattering of light by small particles, [1] for example"
LONG = "the sky is blue why " * 200
INSTRUCTION = "Given a question, retrieve passages that answer it"

Usage = Callable[[Any, str], official.Marked]


@dataclass(frozen=True)
class Case:
    """`query`, `document`: official usage, from tokenizer and text to ids and pooled tokens; `pair` for likelihoods.

    `instruction` is given to queries where the preset has no prompt of its own, and `everywhere` to documents and pairs
    too. `cut`: whether long texts agree too.
    `last`: whether the vector is the state of the last token, which then is always the same. `settings` of the model.
    """

    kind: str
    model: str
    query: Usage
    document: Usage
    pair: Callable[[Any], list[int]] | None = None
    instruction: str | None = None
    everywhere: bool = False
    cut: bool = True
    last: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def both(kind: str, model: str, usage: Usage, **more: Any) -> Case:
    return Case(kind, model, usage, usage, **more)


def encoder(kind: str, model: str, limit: int, query: str = "", document: str = "", **more: Any) -> Case:
    first, second = (partial(official.plain, before=before, limit=limit) for before in (query, document))
    return Case(kind, model, first, second, **{"cut": limit <= 512, **more})


def _echo(tok: Any, text: str, *, template: str) -> official.Marked:
    return official.echo(tok, template, prompt="Retrieve passages that answer the question", text=text)


_ECHO = Case(
    "llama2",
    "mistral",
    partial(_echo, template="<s>Instruct:{!%%prompt%%,}\nQuery:{!%%text%%}\nQuery again:{%%text%%}{</s>}"),
    partial(_echo, template="<s>Document:{!%%text%%}\nDocument again:{%%text%%}{</s>}"),
)


def _gritlm(model: str) -> Case:
    return Case(
        "llama2",
        model,
        lambda tok, text: official.gritlm(tok, text, INSTRUCTION),
        lambda tok, text: official.gritlm(tok, text, ""),
        lambda tok: official.gritlm_pair(tok, QUERY, DOCUMENT),
        INSTRUCTION,
    )


def _llm2vec(kind: str, model: str, around: tuple[str, str]) -> Case:
    return Case(
        kind,
        model,
        lambda tok, text: official.llm2vec(tok, text, f"{INSTRUCTION}:", around=around),
        lambda tok, text: official.llm2vec(tok, text, "", around=around),
        instruction=INSTRUCTION,
        cut=False,
    )


_NV = Case(
    "llama2",
    "mistral",
    lambda tok, text: official.nv_embed(
        tok, text, "Instruct: Given a question, retrieve passages that answer the question\nQuery: "
    ),
    lambda tok, text: official.nv_embed(tok, text, ""),
    cut=False,
)
_WEB = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


def _instructed(kind: str, model: str, end: str, limit: int, space: str) -> Case:
    def usage(tok: Any, text: str, before: str) -> official.Marked:
        return official.with_end(tok, text, before=before, end=tok.convert_tokens_to_ids(end), limit=limit)

    first, second = (partial(usage, before=before) for before in (_WEB + space, ""))
    return Case(kind, model, first, second, cut=False, last=True)


def _udever(tok: Any, text: str, *, start: str, end: str) -> official.Marked:
    return official.with_end(tok, text, before=start, end=tok.convert_tokens_to_ids(end), limit=300)


_UDEVER = Case(
    "bloom",
    "bloom",
    partial(_udever, start="[BOQ]", end="[EOQ]"),
    partial(_udever, start="[BOD]", end="[EOD]"),
    last=True,
)


def _ullme(kind: str, model: str, marks: str) -> Case:
    chosen = official.ULLME_MARKS[marks]
    return Case(
        kind,
        model,
        lambda tok, text: official.ullme(tok, text, INSTRUCTION, chosen, query=True),
        lambda tok, text: official.ullme(tok, text, INSTRUCTION, chosen, query=False),
        lambda tok: official.ullme_pair(tok, QUERY, DOCUMENT, INSTRUCTION, chosen),
        INSTRUCTION,
        everywhere=True,
        cut=False,
    )


def _specb(kind: str, model: str) -> Case:
    return Case(kind, model, partial(official.brackets, query=True), partial(official.brackets, query=False))


_QWEN3 = Case(
    "qwen-embedding",
    "qwen3",
    partial(official.plain, before=_WEB, limit=8192),
    partial(official.plain, limit=8192),
    cut=False,
    last=True,
)
_INST = ("[INST] ", " [/INST]")
_TURN = ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
_LLM2VEC = {
    "mistral-7b": ("llama2", "mistral", _INST),
    "llama-2-7b": ("llama2", "llama", _INST),
    "llama-3-8b": ("llama3", "llama", _TURN),
    "llama-3.1-8b": ("llama3", "llama", _TURN),
    "sheared-llama": ("llama2", "llama", ("", "")),
}
_T5 = {"kind": "T5EncoderModel"}

CASES: dict[str, Case] = {
    **{f"sgpt-nli-{size}": encoder("gpt2", "gpt_neo", 75) for size in ("125m", "1.3b", "2.7b")},
    "sgpt-nli-5.8b": encoder("gpt2", "gptj", 75),
    **{f"sgpt-msmarco-specb-{size}": _specb("gpt2", "gpt_neo") for size in ("125m", "1.3b", "2.7b")},
    "sgpt-msmarco-specb-5.8b": _specb("gpt2", "gptj"),
    "sgpt-bloom-7b1": _specb("bloom", "bloom"),
    "repllama": Case(
        "llama2",
        "llama",
        partial(official.repllama, prefix="query: "),
        partial(official.repllama, prefix="passage: "),
        last=True,
    ),
    "echo-mean": _ECHO,
    "echo-last": _ECHO,
    "gritlm-7b": _gritlm("mistral"),
    "gritlm-8x7b": _gritlm("mixtral"),
    **{
        f"llm2vec-{base}-{stage}": _llm2vec(*parts)
        for base, parts in _LLM2VEC.items()
        for stage in ("mntp", "unsup-simcse", "supervised")
    },
    "nv-embed-v1": _NV,
    "nv-embed-v2": _NV,
    "e5-mistral-7b-instruct": _instructed("llama2", "mistral", "</s>", 4096, " "),
    **{f"udever-bloom-{size}": _UDEVER for size in ("560m", "1b1", "3b", "7b1")},
    **{f"ullme-{row}": _ullme("gpt2", "phi", "phi") for row in ("base", "causal-cl", "bi-cl", "bi-cl-sft")},
    **{f"ullme-{row}": _ullme("gpt2", "phi", "phi") for row in ("grl-sft", "grl")},
    "phi-1.5": encoder("gpt2", "phi", 512, cut=False),
    "mistral-7b-instruct-v0.2": encoder("llama2", "mistral", 512, cut=False),
    "llama-3-8b-instruct": encoder("llama3", "llama", 512, cut=False),
    "simcse-sup": encoder("roberta", "roberta", 128),
    "simcse-unsup": encoder("roberta", "roberta", 128),
    "contriever": encoder("bert", "bert", 512),
    "gte-large": encoder("bert", "bert", 512),
    "bge-large-en-v1.5": encoder("bert", "bert", 512, "Represent this sentence for searching relevant passages: "),
    "e5-large": encoder("bert", "bert", 512, "query: ", "passage: "),
    "me5-large": encoder("xlm-roberta", "xlm-roberta", 512, "query: ", "passage: "),
    "bge-m3": encoder("xlm-roberta", "xlm-roberta", 8192),
    "mgte": encoder("xlm-roberta", "gte", 8192),
    "jina-v3": encoder(
        "xlm-roberta",
        "jina_embeddings_v3",
        8192,
        "Represent the query for retrieving evidence documents: ",
        "Represent the document for retrieval: ",
    ),
    "st5-xxl": encoder("t5", "t5", 256, settings=_T5),
    "gtr-xxl": encoder("t5", "t5", 512, settings=_T5),
    "all-minilm": encoder("bert", "bert", 256),
    **{f"qwen3-embedding-{size}": _QWEN3 for size in ("0.6b", "4b", "8b")},
    "gte-qwen2-1.5b": _instructed("qwen", "qwen2", "<|endoftext|>", 8192, " "),
    "gte-qwen2-7b": _instructed("qwen", "qwen2", "<|endoftext|>", 8192, " "),
    "embeddinggemma": encoder(
        "gemma",
        "gemma3_text",
        2048,
        "task: search result | query: ",
        "title: none | text: ",
        settings={"kind": "AutoModel", "config": {"use_bidirectional_attention": True}},
    ),
}
