"""Small tokenizers of the kinds that the presets' models have, made from fixed lists: nothing in them is trained.

What differs between the kinds is real: byte-level or SentencePiece-like pieces, the prefix that a space becomes, which
special tokens there are, and which of them the tokenizer itself puts around a text.
"""

from __future__ import annotations

from typing import Any

_WORDS = """
query: passage: Query: Query Instruct: Instruct again: again Document: Document Candidate: title: none text: task:
search result | Given a question, question retrieve passages that answer it the Represent this sentence for searching
relevant passages: evidence documents: document retrieval: similarity why is sky blue Rayleigh scattering. scattering of
light by small particles <|user|> <|embed|> <|assistant|> [INST] [/INST] user assistant retrieving query Retrieve . ,
"""
WORDS = _WORDS.split()
BYTES = [chr(byte) for byte in range(33, 127)]
"""The characters that a text of these tests may hold, beside the space and the line break."""


def _merged(words: list[str], alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a BPE model that builds each word from left to right."""
    vocabulary = {token: number for number, token in enumerate(alphabet)}
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            pair = (word[: end - 1], word[end - 1])
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append(pair)
    return vocabulary, merges


def _wrapped(core: Any, special: dict[str, str], extra: tuple[str, ...], around: str | None) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    core.add_special_tokens(list(dict.fromkeys([*special.values(), *extra])))
    if around:
        named = [token for token in around.split() if token != "$A"]
        ids = [(token, core.token_to_id(token)) for token in named]
        core.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=core, **{f"{name}_token": token for name, token in special.items()})


def byte_level(special: dict[str, str], extra: tuple[str, ...] = (), around: str | None = None) -> Any:
    """GPT-2's kind: `Ġ` is a space, and a text begins without one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [spelled for word in WORDS for spelled in (word, f"Ġ{word}")]
    # Pre-tokenisation splits punctuation off, so that words of letters alone are what is merged.
    letters = [w.rstrip(":.,") for w in words if w.strip("Ġ:.,").isalpha()]
    core = Tokenizer(models.BPE(*_merged([*letters, "?]", "[("], alphabet)))  # brackets that may join their neighbours
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return _wrapped(core, special, extra, around)


def sentencepiece(special: dict[str, str], extra: tuple[str, ...] = (), around: str | None = None, prefix=True) -> Any:
    """Llama 2's kind: `▁` is a space, one is put before every text (Gemma: none), and other bytes are tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [spelled for word in WORDS for spelled in (f"▁{word}", word)]
    vocabulary, merges = _merged(words, ["<unk>", *fallback, "▁", *BYTES])
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(core, {"unk": "<unk>", **special}, extra, around)


def unigram(special: dict[str, str], around: str) -> Any:
    """XLM-RoBERTa's and T5's kind: the likeliest pieces, `▁` before every word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = dict.fromkeys(["<unk>", "▁", *BYTES, *(f"▁{word}" for word in WORDS), *WORDS])
    scored = [(piece, 0.0 if piece == "<unk>" else -10.0 + len(piece) / 4) for piece in pieces]
    core = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=False))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return _wrapped(core, {"unk": "<unk>", **special}, (), around)


def wordpiece() -> Any:
    """BERT's kind: lower case, whole words or pieces of them, [CLS] and [SEP] around."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = [word.lower().strip(":.,") for word in WORDS]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *BYTES, *(f"##{c}" for c in BYTES)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(filter(None, pieces)))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return _wrapped(core, special, (), "[CLS] $A [SEP]")


_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_ENCODER = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "mask": "<mask>"}
_SP = {"bos": "<s>", "eos": "</s>"}
_GPT2 = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}
_UDEVER = ("[BOQ]", "[EOQ]", "[BOD]", "[EOD]")
_QWEN = ("<|im_start|>", "<|im_end|>")

KINDS = {
    "bert": wordpiece,
    "roberta": lambda: byte_level(_ENCODER, around="<s> $A </s>"),
    "xlm-roberta": lambda: unigram(_ENCODER, "<s> $A </s>"),
    "t5": lambda: unigram({"eos": "</s>", "pad": "<pad>"}, "$A </s>"),
    "gpt2": lambda: byte_level(_GPT2),
    "bloom": lambda: byte_level({**_SP, "pad": "<pad>", "unk": "<unk>"}, _UDEVER),
    "llama2": lambda: sentencepiece(_SP, around="<s> $A"),
    "llama3": lambda: byte_level({"bos": _LLAMA3[0], "eos": "<|eot_id|>"}, _LLAMA3, around=f"{_LLAMA3[0]} $A"),
    "qwen": lambda: byte_level({"eos": "<|im_end|>", "pad": "<|endoftext|>"}, _QWEN),
    "qwen-embedding": lambda: byte_level(
        {"eos": "<|im_end|>", "pad": "<|endoftext|>"}, _QWEN, around="$A <|endoftext|>"
    ),
    "gemma": lambda: sentencepiece(
        {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}, around="<bos> $A <eos>", prefix=False
    ),
}
