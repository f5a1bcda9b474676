"""Tiny random models with a real tokenizer, saved as transformers would save them."""

from __future__ import annotations

from pathlib import Path

import torch

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Query: is there a word with q without u",
    "Embeddings are vectors; a likelihood is a number.",
    "Sorting an array in place takes no further memory.",
    "der schnelle braune Fuchs, été, 日本語",
]
KNOWN = ("llama", "gpt_neox", "gemma3", "bert", "mamba")
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def tokenizer(pad_is_eos: bool = False, template: str | None = None):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(TEXTS, trainer)
    if template:
        ids = [(token, core.token_to_id(token)) for token in ("<s>", "</s>")]
        core.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>" if pad_is_eos else "<pad>",
        cls_token="<s>",
        sep_token="</s>",
    )


def config(family: str, vocab: int):
    import transformers as t

    common = {**SIZES, "vocab_size": vocab, "max_position_embeddings": 128}
    if family == "llama":
        return t.LlamaConfig(**common, num_key_value_heads=2, tie_word_embeddings=True)
    if family == "gpt_neox":
        return t.GPTNeoXConfig(**common)
    if family == "gemma3":
        return t.Gemma3TextConfig(
            **common, num_key_value_heads=2, head_dim=16, sliding_window=4, final_logit_softcapping=5.0
        )
    if family == "bert":
        return t.BertConfig(**common)
    if family == "mamba":
        return t.MambaConfig(hidden_size=64, vocab_size=vocab, num_hidden_layers=2)
    from ullme_plugins.backbones import _tiny

    return _tiny.tiny_config(family, vocab_size=vocab)


def save(folder: Path, family: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **tokens) -> Path:
    """A random model of `family` and its tokenizer in `folder`; weights large enough for differences to show.

    `family` is one of `KNOWN` or any model type of transformers.
    """
    from transformers import AutoModel, AutoModelForCausalLM

    words = tokenizer(**({"template": "<s> $A </s>"} if family == "bert" else {}) | tokens)
    if family not in KNOWN:
        from ullme_plugins.backbones import _tiny

        assert dtype == torch.float32
        return _tiny.save_tiny(folder, family, seed=seed, tokenizer=words, vocab_size=len(words))
    torch.manual_seed(seed)
    made = config(family, len(words))
    model = AutoModel.from_config(made) if family == "bert" else AutoModelForCausalLM.from_config(made)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 if "embed" in name else 0.15)
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
