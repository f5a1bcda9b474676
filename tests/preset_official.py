"""What the official code of each system does with a text: token ids, and which tokens are pooled.

Written from the systems' own usage examples, without looking at our templates: `tokenizer` calls as they make them.
"""

from __future__ import annotations

from typing import Any

Marked = tuple[list[int], list[bool]]


def plain(tok: Any, text: str, *, before: str = "", limit: int) -> Marked:
    """sentence-transformers' way, and that of the E5, GTE and BGE model cards: the tokenizer's own call, all pooled."""
    ids = tok(before + text, truncation=True, max_length=limit)["input_ids"]
    return ids, [True] * len(ids)


def brackets(tok: Any, text: str, *, query: bool) -> Marked:
    """SGPT, `tokenize_with_specb`: one bracket token on either side of the tokenised text."""
    ids = tok(text, padding=False, truncation=True, max_length=300)["input_ids"]
    first, last = (tok.encode(b, add_special_tokens=False)[0] for b in ("[]" if query else "{}"))
    ids.insert(0, first)
    ids.append(last)
    return ids, [True] * len(ids)


def repllama(tok: Any, text: str, *, prefix: str, limit: int = 512) -> Marked:
    """tevatron's repllama example: encode, append the end token, let `prepare_for_model` add the start token."""
    ids = tok.encode(prefix + text, add_special_tokens=False, max_length=limit - 3, truncation=True)
    ids = [tok.bos_token_id, *ids, tok.eos_token_id]
    return ids, [True] * len(ids)


def echo(tok: Any, template: str, **fields: str) -> Marked:
    """`EchoParser`: every piece of the template is tokenised by itself and has at most 300 tokens."""
    import re

    matches = list(re.finditer(r"\{(.|\n|\r|\t)+?\}", template))
    pieces, end = [], 0
    for match in matches:
        pieces += [template[end : match.start()], match.group()]
        end = match.end()
    pieces.append(template[end:])
    ids: list[int] = []
    pool: list[bool] = []
    for piece in filter(None, pieces):
        pooled = False
        if piece.startswith("{") and piece.endswith("}"):
            piece = piece[1:-1]
            pooled = not piece.startswith("!")
            piece = piece.removeprefix("!")
            for name, value in fields.items():
                piece = piece.replace(f"%%{name}%%", value)
        tokens = tok(piece, add_special_tokens=False)["input_ids"][:300]  # its tokenizer adds no start or end token
        ids += tokens
        pool += [pooled] * len(tokens)
    return ids, pool


def gritlm(tok: Any, text: str, instruction: str) -> Marked:
    """`GritLM.encode` with `gritlm_instruction`: the instruction's tokens, counted by themselves, are not pooled."""
    wrapped = f"<|user|>\n{instruction}\n<|embed|>\n" if instruction else "<|embed|>\n"
    ids = tok(wrapped + text, truncation=True, max_length=512)["input_ids"]
    masked = len(tok(wrapped)["input_ids"])
    return ids, [index >= masked for index in range(len(ids))]


def llm2vec(tok: Any, text: str, instruction: str, *, around: tuple[str, str]) -> Marked:
    """`LLM2Vec.encode`: instruction and text joined by a separator, the turn's marks around both, the rest pooled."""
    separator = "!@#$%^&*()"
    joined = f"{instruction.strip()} {separator}{text}" if instruction else f"{separator}{text}"
    joined = around[0] + joined.strip() + around[1]
    before, after = joined.split(separator)
    ids = tok(before + after, truncation=True, max_length=512)["input_ids"]
    pooled = len(tok(after, add_special_tokens=False)["input_ids"])
    return ids, [index >= len(ids) - pooled for index in range(len(ids))]


def nv_embed(tok: Any, text: str, instruction: str) -> Marked:
    """`NVEmbedModel.encode`: prefix + text + end token; as many tokens are masked as the prefix has pieces."""
    ids = tok(instruction + text + tok.eos_token, truncation=True, max_length=32768)["input_ids"]
    masked = len(tok.tokenize(instruction)) if instruction else 0
    return ids, [index >= masked for index in range(len(ids))]


def with_end(tok: Any, text: str, *, before: str = "", end: int, limit: int) -> Marked:
    """E5-Mistral's, UDEVER's and gte-Qwen2's way: room is left for one token, which is appended."""
    ids = [*tok(before + text, truncation=True, max_length=limit - 1)["input_ids"], end]
    return ids, [True] * len(ids)


def ullme(tok: Any, text: str, instruction: str, marks: dict[str, str], *, query: bool) -> Marked:
    """ULLME's collator of 2024-08: one string, tokenised whole; the prompt's tokens, counted alone, are not pooled."""
    start = marks["bos"] + marks["user_bos"]
    prompt = f"{start}{instruction}." if query else f"{start}{instruction}. Candidate:\n"
    whole = (prompt + "\n" if query else prompt) + text + marks["eot"] + marks["eos"]
    ids = tok(whole, truncation=True, max_length=512, add_special_tokens=False)["input_ids"]
    masked = len(tok(prompt, add_special_tokens=False)["input_ids"])
    return ids, [index >= masked for index in range(len(ids))]


def ullme_pair(tok: Any, query: str, response: str, instruction: str, marks: dict[str, str]) -> list[int]:
    """ULLME's `gen_example_format`: what likelihoods are computed on."""
    start = marks["bos"] + marks["user_bos"] + f"{instruction}. Query:\n{query}\n" + marks["eot"]
    whole = start + marks["assistant_bos"] + f"\n{response}\n" + marks["eot"] + marks["eos"]
    return tok(whole, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def gritlm_pair(tok: Any, query: str, response: str) -> list[int]:
    """GritLM's chat format, with the start token that its tokenizer adds and the end token of the training code."""
    return [*tok(f"<|user|>\n{query}\n<|assistant|>\n{response}")["input_ids"], tok.eos_token_id]


ULLME_MARKS = {
    "phi": {"bos": "", "user_bos": "<|im_start|>user\n\n", "eot": "\n", "assistant_bos": "<|im_start|>assistant\n\n"}
    | {"eos": "<|im_end|>"},
    "mistral": {"bos": "<s>", "user_bos": "[INST]", "eot": "", "assistant_bos": "[/INST]", "eos": "</s>"},
    "llama": {
        "bos": "<|begin_of_text|>",
        "user_bos": "<|start_header_id|>user<|end_header_id|>\n\n",
        "eot": "<|eot_id|>\n",
        "assistant_bos": "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "eos": "<|end_of_text|>",
    },
}
"""ULLME's `special_tokens.py`."""
